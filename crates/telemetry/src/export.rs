//! Sending spans to an OpenTelemetry collector, set by the `OTEL_…` variables of the
//! OpenTelemetry specification.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

use crate::trace;

/// Spans are sent while this is kept; [`stop`](Export::stop) sends the last ones.
pub struct Export {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Why spans can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A protocol that this program does not speak.
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL is '{0}'; this program speaks http/protobuf")]
    Protocol(String),
    /// Another exporter than OTLP.
    #[error("OTEL_TRACES_EXPORTER is '{0}'; this program knows otlp and none")]
    Exporter(String),
    /// The other settings.
    #[error("the OTEL_EXPORTER_OTLP_… settings can't be used")]
    Settings(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The HTTP client.
    #[error("the HTTP client for spans can't be made")]
    Client(#[from] reqwest::Error),
}

/// How long sending the last spans may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Export {
    /// Begins to record and send spans if the environment asks for it: if
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set, or
    /// `OTEL_TRACES_EXPORTER` is `otlp` (then to `http://localhost:4318`), and
    /// `OTEL_SDK_DISABLED` is not `true`. The service is called `name` unless
    /// `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` says otherwise. To be called on
    /// a tokio runtime, which sends the spans.
    ///
    /// # Errors
    /// When a setting can't be used.
    pub fn start(name: &'static str) -> Result<Option<Self>, ExportError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let wanted = match set("OTEL_TRACES_EXPORTER").as_deref() {
            None => endpoint.is_some(),
            Some("otlp") => true,
            Some("none") => false,
            Some(other) => return Err(ExportError::Exporter(other.to_owned())),
        };
        if !wanted || set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(other) = protocol.filter(|protocol| protocol != "http/protobuf") {
            return Err(ExportError::Protocol(other));
        }
        let client = OnRuntime { http: reqwest::Client::builder().build()?, runtime: Handle::current() };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
        let mut resource = Resource::builder();
        let named = set("OTEL_SERVICE_NAME").is_some()
            || set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
        if !named {
            resource = resource.with_service_name(name);
        }
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer("longhaul");
        trace::record_with(tracer.clone());
        Ok(Some(Self { provider, tracer }))
    }

    /// What makes spans of `tracing` part of the traces.
    #[must_use]
    pub fn tracer(&self) -> SdkTracer {
        self.tracer.clone()
    }

    /// Sends what has not been sent; gives up after five seconds.
    pub async fn stop(self) {
        let sent = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(PATIENCE)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent");
        }
    }
}

/// The SDK sends from a thread of its own, and reqwest needs the runtime's.
#[derive(Debug)]
struct OnRuntime {
    http: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let answer = self.http.execute(request);
        let received = self.runtime.spawn(async move {
            let mut answer = answer.await?;
            let headers = std::mem::take(answer.headers_mut());
            Ok::<_, reqwest::Error>((answer.status(), headers, answer.bytes().await?))
        });
        let (status, headers, body) = received.await??;
        let mut response = Response::builder().status(status).body(body)?;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

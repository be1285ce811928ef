//! Sending spans to an OpenTelemetry collector, set by the `OTEL_…` variables of the
//! OpenTelemetry specification.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;

use crate::trace;

/// Spans are sent while this is kept; [`stop`](Export::stop) sends the last ones.
pub struct Export {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Where spans go, and which.
#[derive(Debug, Clone, Default)]
pub struct TraceSettings {
    /// The collector's address, to which `/v1/traces` is added.
    pub endpoint: Option<String>,
    /// Headers for it: `name=value`, more behind commas.
    pub headers: Option<String>,
    /// What the process is called.
    pub service_name: Option<String>,
    /// Which traces are recorded.
    pub sampling: Sampling,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Those whose caller records them, and no others of callers.
    pub parent: bool,
    /// This part of the rest.
    pub ratio: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { parent: true, ratio: 1.0 }
    }
}

impl Sampling {
    fn sampler(self) -> Sampler {
        let root = match self.ratio {
            ratio if ratio >= 1.0 => Sampler::AlwaysOn,
            ratio if ratio <= 0.0 => Sampler::AlwaysOff,
            ratio => Sampler::TraceIdRatioBased(ratio),
        };
        if self.parent { Sampler::ParentBased(Box::new(root)) } else { root }
    }
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
    /// Headers that are none.
    #[error("OTEL_EXPORTER_OTLP_HEADERS (--otlp-headers) must look like name=value,other=value")]
    Headers,
    /// The other settings.
    #[error("the OTEL_EXPORTER_OTLP_… settings are invalid")]
    Settings(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The HTTP client.
    #[error("the HTTP client for spans can't be made")]
    Client(#[from] reqwest::Error),
}

/// How long sending the last spans may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Export {
    /// Begins to record and send spans if that is asked for: if the settings have an
    /// endpoint, or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set, or `OTEL_TRACES_EXPORTER`
    /// is `otlp` (then to `http://localhost:4318`), and `OTEL_SDK_DISABLED` is not `true`.
    /// The service is called `name` unless the settings or `OTEL_RESOURCE_ATTRIBUTES` say
    /// otherwise. To be called on a tokio runtime, which sends the spans.
    ///
    /// # Errors
    /// If a setting can't be used.
    pub fn start(name: &'static str, settings: TraceSettings) -> Result<Option<Self>, ExportError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let of_traces = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").is_some();
        let wanted = match set("OTEL_TRACES_EXPORTER").as_deref() {
            None => of_traces || settings.endpoint.is_some(),
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
        let client = OnRuntime { http: longhaul_outbound::http_client().build()?, runtime: Handle::current() };
        let mut exporter = SpanExporter::builder().with_http().with_http_client(client);
        if let Some(endpoint) = settings.endpoint.filter(|_| !of_traces) {
            exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        }
        if let Some(headers) = settings.headers {
            exporter = exporter.with_headers(read_headers(&headers)?);
        }
        let mut resource = Resource::builder();
        let named = set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
        if let Some(name) = settings.service_name.or_else(|| (!named).then(|| name.to_owned())) {
            resource = resource.with_service_name(name);
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter.build()?)
            .with_sampler(settings.sampling.sampler())
            .with_resource(resource.build())
            .build();
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

/// `name=value,other=value`, values as in addresses (W3C Baggage, without its properties).
fn read_headers(text: &str) -> Result<HashMap<String, String>, ExportError> {
    let mut headers = HashMap::new();
    for header in text.split(',').filter(|header| !header.trim().is_empty()) {
        let (name, value) = header.split_once('=').ok_or(ExportError::Headers)?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| ExportError::Headers)?.into_owned();
        http::HeaderName::try_from(name.trim()).map_err(|_| ExportError::Headers)?;
        http::HeaderValue::try_from(&value).map_err(|_| ExportError::Headers)?;
        headers.insert(name.trim().to_owned(), value);
    }
    Ok(headers)
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

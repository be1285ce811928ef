//! A receiver of OTLP over HTTP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A receiver of OTLP over HTTP, which keeps what it is sent.
pub struct Collector {
    server: MockServer,
}

impl Collector {
    /// Listens on a port of its own.
    pub async fn start() -> Self {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        Self { server }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn address(&self) -> String {
        self.server.uri()
    }

    /// The spans that have come so far, and what their processes say of themselves.
    pub async fn received(&self) -> (Vec<Span>, Vec<String>) {
        let (mut spans, mut services) = (Vec::new(), Vec::new());
        for request in self.server.received_requests().await.expect("requests are kept") {
            assert_eq!((request.method.as_str(), request.url.path()), ("POST", "/v1/traces"));
            assert_eq!(request.headers["content-type"], "application/x-protobuf");
            let sent = ExportTraceServiceRequest::decode(request.body.as_slice()).expect("the message of the protocol");
            for resource in sent.resource_spans {
                services.push(format!("{:?}", resource.resource));
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        (spans, services)
    }

    /// What a header was in each request.
    pub async fn header(&self, name: &str) -> Vec<Option<String>> {
        let requests = self.server.received_requests().await.expect("requests are kept");
        let value = |request: &wiremock::Request| Some(request.headers.get(name)?.to_str().ok()?.to_owned());
        requests.iter().map(value).collect()
    }
}

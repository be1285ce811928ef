//! Spans: of requests, of attempts, of what is asked of others.
//!
//! Without an exporter (see [`crate::export`]) nothing is recorded, and a trace that
//! came with a request is passed on as it came.

use std::future::Future;
use std::sync::OnceLock;

use longhaul_model::TraceContext;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// From here on spans are recorded. The first call counts.
pub(crate) fn record_with(tracer: SdkTracer) {
    if TRACER.set(tracer).is_err() {
        tracing::warn!("spans are recorded already");
    }
}

/// A span, or a place in a trace that is passed on, or nothing.
pub struct Span {
    context: Option<Context>,
    recorded: bool,
}

impl Span {
    /// A request that this process answers; `route` is its pattern.
    #[must_use]
    pub fn request(method: &str, route: Option<&str>, parent: Option<TraceContext>) -> Self {
        let name = || format!("{method} {}", route.unwrap_or_default()).trim_end().to_owned();
        Self::begin(SpanKind::Server, name, parent, || {
            let mut attributes = vec![KeyValue::new("http.request.method", method.to_owned())];
            attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
            attributes
        })
    }

    /// An attempt at a task. Its parent is the request that started the task, or the
    /// attempt of another task that did. `task` makes its public id, which is put into
    /// words only if the span is sent.
    #[must_use]
    pub fn attempt(
        type_name: &'static str,
        queue: &str,
        task: impl FnOnce() -> String,
        attempt: u16,
        parent: Option<TraceContext>,
    ) -> Self {
        Self::begin(
            SpanKind::Consumer,
            || format!("run {type_name}"),
            parent,
            || {
                vec![
                    KeyValue::new("messaging.system", "longhaul"),
                    KeyValue::new("messaging.operation.type", "process"),
                    KeyValue::new("messaging.destination.name", queue.to_owned()),
                    KeyValue::new("messaging.message.id", task()),
                    KeyValue::new("longhaul.task.type", type_name),
                    KeyValue::new("longhaul.task.attempt", i64::from(attempt)),
                ]
            },
        )
    }

    /// A request to someone else, in the trace of the running code. Its
    /// [`headers`](Span::headers) go with it.
    #[must_use]
    pub fn call(method: &'static str, host: &str) -> Self {
        Self::begin(
            SpanKind::Client,
            || method.to_owned(),
            TraceContext::current(),
            || vec![KeyValue::new("http.request.method", method), KeyValue::new("server.address", host.to_owned())],
        )
    }

    fn begin(
        kind: SpanKind,
        name: impl FnOnce() -> String,
        parent: Option<TraceContext>,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Self {
        let parent = parent.map(|parent| parent.to_context());
        match TRACER.get() {
            None => Self { context: parent, recorded: false },
            Some(tracer) => {
                let parent = parent.unwrap_or_default();
                let builder = tracer.span_builder(name()).with_kind(kind).with_attributes(attributes());
                let span = tracer.build_with_context(builder, &parent);
                Self { context: Some(parent.with_span(span)), recorded: true }
            }
        }
    }

    /// Does this within the span.
    pub async fn around<F: Future>(&self, work: F) -> F::Output {
        match &self.context {
            None => work.await,
            Some(context) => work.with_context(context.clone()).await,
        }
    }

    /// The headers that tell another process of it: `traceparent`, perhaps
    /// `tracestate`.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let Some(context) = &self.context else { return Vec::new() };
        let _in_it = context.clone().attach();
        let Some(place) = TraceContext::current() else { return Vec::new() };
        let mut headers = vec![("traceparent", place.parent())];
        headers.extend(place.state().map(|state| ("tracestate", state)));
        headers
    }

    /// The request was answered with this status.
    pub fn answered(self, status: u16) {
        let failed = status >= 500;
        self.end(
            failed.then(|| format!("status {status}")),
            Some(KeyValue::new("http.response.status_code", i64::from(status))),
        );
    }

    /// The call failed, or was answered with an error.
    pub fn called(self, status: Result<u16, &'static str>) {
        match status {
            Ok(status) => {
                let failed = status >= 400;
                let code = KeyValue::new("http.response.status_code", i64::from(status));
                self.end(failed.then(|| format!("status {status}")), Some(code));
            }
            Err(error) => self.end(Some(error.to_owned()), Some(KeyValue::new("error.type", error))),
        }
    }

    /// The attempt ended so; `failed` if it is one that failed.
    pub fn ended(self, end: &'static str, failed: bool) {
        self.end(failed.then(|| end.to_owned()), Some(KeyValue::new("longhaul.task.end", end)));
    }

    fn end(self, error: Option<String>, attribute: Option<KeyValue>) {
        let Some(context) = self.context.as_ref().filter(|_| self.recorded) else { return };
        let span = context.span();
        if let Some(attribute) = attribute {
            span.set_attribute(attribute);
        }
        if let Some(error) = error {
            span.set_status(Status::error(error));
        }
        span.end();
    }
}

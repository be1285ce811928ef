//! Writing a stream to a client.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::stream::{Stream, unfold};
use longhaul_model::split_public_id;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::Event;
use super::hub::Subscription;
use crate::error::NOT_ACCEPTABLE;
use crate::negotiation::{Preference, preference};
use crate::{ApiError, App, TaskBody};

/// How a client takes the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `application/x-ndjson`: one body a line; an empty line is a heartbeat.
    Ndjson,
    /// `text/event-stream` (WHATWG HTML, 9.2 Server-sent events): one body an
    /// event; a comment is a heartbeat.
    Sse,
}

impl Form {
    /// What the client asks for: newline-delimited JSON, unless it would rather
    /// have server-sent events.
    ///
    /// # Errors
    /// 406 if it takes neither.
    pub(crate) fn asked(request: &HttpRequest) -> Result<Self, ApiError> {
        let [ndjson, sse] = [("application", "x-ndjson"), ("text", "event-stream")]
            .map(|(kind, subtype)| preference(request, kind, subtype));
        match (ndjson, sse) {
            (Preference::REFUSED, Preference::REFUSED) => Err(ApiError::new(
                NOT_ACCEPTABLE,
                "A stream is application/x-ndjson or text/event-stream; send Accept with one of them, or none.",
            )),
            (ndjson, sse) if sse > ndjson => Ok(Form::Sse),
            _ => Ok(Form::Ndjson),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::Ndjson => "application/x-ndjson",
            Form::Sse => "text/event-stream",
        }
    }

    fn item(self, event: &Event) -> Bytes {
        match self {
            Form::Ndjson => event.ndjson(),
            Form::Sse => event.sse(),
        }
    }

    fn heartbeat(self) -> Bytes {
        match self {
            Form::Ndjson => Bytes::from_static(b"\n"),
            Form::Sse => Bytes::from_static(b": still here\n\n"),
        }
    }

    /// What comes before everything else. A browser that loses the connection
    /// tries again after a second.
    fn preface(self) -> Option<Bytes> {
        match self {
            Form::Ndjson => None,
            Form::Sse => Some(Bytes::from_static(b"retry: 1000\n\n")),
        }
    }
}

/// Answers with a task's states from `body` on until it ends. `seen` is the last
/// event that the client says it has seen: it is not sent again, and if it is the
/// final one, the answer is 204, which stops a browser from asking again.
///
/// # Errors
/// When the body has no JSON form.
pub(crate) fn begin(
    app: &App,
    response: &mut HttpResponseBuilder,
    body: TaskBody,
    form: Form,
    seen: Option<&str>,
) -> Result<HttpResponse, ApiError> {
    let state = Event::of(&body).map_err(ApiError::internal)?;
    let seen = |event: &Event| seen == Some(event.id());
    let hub = &app.inner.hub;
    let (first, subscription) = if state.is_final() {
        if seen(&state) {
            return Ok(HttpResponse::NoContent().finish());
        }
        (Arc::new(state), None)
    } else {
        let (prefix, id) = split_public_id(&body.id).ok_or_else(|| ApiError::internal("an id without a guid"))?;
        let entry = app.inner.registry.by_id_prefix(prefix).ok_or_else(|| ApiError::internal("an id of no type"))?;
        let (first, subscription) = hub.subscribe(id, entry.info().id_prefix, state);
        (first, Some(subscription))
    };
    let heartbeat = app.inner.settings.stream_heartbeat;
    // A client that knows this state is sent a heartbeat, to know that it is heard.
    let first = if seen(&first) { None } else { Some(first) };
    let open = Open {
        preface: form.preface(),
        first: Some(first),
        subscription,
        form,
        heartbeat,
        silence: Box::pin(tokio::time::sleep(heartbeat)),
        closed: hub.closed(),
    };
    Ok(response
        .insert_header((CONTENT_TYPE, form.content_type()))
        // Neither kept nor changed (compressed, which would hold it back) on the
        // way; the second is nginx's.
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(open.into_stream()))
}

/// A stream under way. It is only asked for more when the client's connection
/// takes more, so a slow client is sent fewer states, never old ones.
struct Open {
    preface: Option<Bytes>,
    /// Still to be sent: the first state, or a heartbeat in its stead.
    first: Option<Option<Arc<Event>>>,
    /// `None` once the final state has been sent.
    subscription: Option<Subscription>,
    form: Form,
    heartbeat: Duration,
    silence: std::pin::Pin<Box<Sleep>>,
    closed: CancellationToken,
}

impl Open {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        unfold(self, |mut open| async move {
            let item = open.next().await?;
            open.silence.as_mut().reset(Instant::now() + open.heartbeat);
            Some((Ok(item), open))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(preface) = self.preface.take() {
            return Some(preface);
        }
        match self.first.take() {
            Some(Some(event)) => return Some(self.item(&event)),
            Some(None) => return Some(self.form.heartbeat()),
            None => {}
        }
        let event = tokio::select! {
            () = self.closed.cancelled() => return None,
            event = self.subscription.as_mut()?.next() => event?,
            () = self.silence.as_mut() => return Some(self.form.heartbeat()),
        };
        Some(self.item(&event))
    }

    fn item(&mut self, event: &Event) -> Bytes {
        if event.is_final() {
            self.subscription = None;
        }
        self.form.item(event)
    }
}

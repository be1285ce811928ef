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

use super::hub::Subscription;
use super::{Event, Lines, Standing};
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

/// Where a stream begins.
pub(crate) struct Beginning<'a> {
    /// The state that the task is in.
    pub(crate) body: TaskBody,
    /// How many lines its log has had.
    pub(crate) logged: i64,
    /// How the client takes it.
    pub(crate) form: Form,
    /// The last event that the client says it has seen: it is not sent again.
    pub(crate) seen: Option<&'a str>,
    /// If the client wants the lines of the log between the states.
    pub(crate) lines: Option<Lines>,
    /// What entitles the client.
    pub(crate) standing: Standing,
}

/// Answers with a task's states until it ends. If the client has seen the final
/// one, the answer is 204, which stops a browser from asking again.
///
/// # Errors
/// If the body has no JSON form.
pub(crate) fn begin(
    app: &App,
    response: &mut HttpResponseBuilder,
    beginning: Beginning<'_>,
) -> Result<HttpResponse, ApiError> {
    let Beginning { body, logged, form, seen, lines, standing } = beginning;
    let state = Event::of(&body, logged).map_err(ApiError::internal)?;
    let seen = |event: &Event| lines.as_ref().map_or(seen, |lines| Some(lines.state())) == Some(event.id());
    let hub = &app.inner.hub;
    let (first, subscription) = if state.is_final() {
        if seen(&state) && lines.as_ref().is_none_or(|lines| lines.sent() >= logged) {
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
    let heard = seen(&first);
    let open = Open {
        preface: form.preface(),
        greeting: heard.then(|| form.heartbeat()),
        last_sent: if heard { first.id().to_owned() } else { String::new() },
        state: Some(first),
        lines,
        standing,
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
    /// What tells a client that it is heard.
    greeting: Option<Bytes>,
    /// Still to be sent, after the lines that came before it.
    state: Option<Arc<Event>>,
    /// The id of the state that was sent last.
    last_sent: String,
    /// If the client wants the log, too.
    lines: Option<Lines>,
    standing: Standing,
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
        if !self.standing.holds().await {
            return None;
        }
        if let Some(preface) = self.preface.take() {
            return Some(preface);
        }
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        loop {
            if !self.standing.holds().await {
                return None;
            }
            if let Some(state) = self.state.clone() {
                if let Some(lines) = &mut self.lines {
                    let line = tokio::select! {
                        () = self.closed.cancelled() => return None,
                        line = lines.next(state.logged(), self.form) => line,
                    };
                    if line.is_some() {
                        return line;
                    }
                }
                self.state = None;
                if state.is_final() {
                    self.subscription = None;
                }
                if state.id() != self.last_sent {
                    return Some(self.item(&state));
                }
            }
            let next = tokio::select! {
                () = self.closed.cancelled() => return None,
                next = self.subscription.as_mut()?.next() => next?,
                () = self.standing.due() => continue,
                () = self.silence.as_mut() => return Some(self.form.heartbeat()),
            };
            self.state = Some(next);
        }
    }

    fn item(&mut self, state: &Event) -> Bytes {
        state.id().clone_into(&mut self.last_sent);
        match (&mut self.lines, self.form) {
            (Some(lines), Form::Sse) => {
                lines.state_is_sent(state.id());
                state.sse_with_log(lines.sent())
            }
            _ => self.form.item(state),
        }
    }
}

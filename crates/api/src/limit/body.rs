//! How slowly a request's body may arrive, and how much of all bodies is taken.

use std::future::Future;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::memory::Taken;

/// Whoever sends at least so many bytes a second is in no hurry.
const BYTES_PER_SECOND: u64 = 16 * 1024;

/// Ends the body of a request that comes too slowly: a client that sends a byte now and
/// then would hold a connection, and what was read, for as long as it likes.
/// Ends it, too, when all bodies together have become too many bytes.
pub(super) fn hurry(request: &mut ServiceRequest, patience: Duration, memory: Option<Arc<Taken>>) {
    let payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return;
    }
    let until = Instant::now() + patience;
    let hurried = Hurried { payload, memory, until, sleep: Box::pin(sleep_until(until)) };
    request.set_payload(Payload::Stream { payload: Box::pin(hurried) });
}

/// Whether a body did not arrive because it came too slowly.
pub(crate) fn is_late(error: &actix_web::Error) -> bool {
    is_of_kind(error, ErrorKind::TimedOut)
}

/// Whether a body was not read because others are too large at the moment.
pub(crate) fn is_too_much(error: &actix_web::Error) -> bool {
    is_of_kind(error, ErrorKind::OutOfMemory)
}

fn is_of_kind(error: &actix_web::Error, kind: ErrorKind) -> bool {
    matches!(error.as_error::<PayloadError>(), Some(PayloadError::Io(error)) if error.kind() == kind)
}

struct Hurried {
    payload: Payload,
    memory: Option<Arc<Taken>>,
    until: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Stream for Hurried {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut self.payload).poll_next(context) {
            Poll::Ready(Some(Ok(bytes))) => {
                if self.memory.as_ref().is_some_and(|memory| !memory.take(bytes.len())) {
                    return Poll::Ready(Some(Err(PayloadError::Io(Error::from(ErrorKind::OutOfMemory)))));
                }
                let earned = bytes.len() as u64 * 1_000_000 / BYTES_PER_SECOND;
                self.until += Duration::from_micros(earned);
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Pending => loop {
                if self.sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                let until = self.until;
                if until <= Instant::now() {
                    return Poll::Ready(Some(Err(PayloadError::Io(Error::from(ErrorKind::TimedOut)))));
                }
                self.sleep.as_mut().reset(until);
            },
            other => other,
        }
    }
}

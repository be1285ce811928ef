//! What one client may use of the server.

mod body;
mod framing;
mod head;
mod memory;
mod rate;
mod share;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};

use crate::App;
use crate::error::answered_by;

pub(crate) use body::{is_late, is_too_much};
pub(crate) use framing::on_connect;
pub(crate) use head::too_large as head_too_large;
pub(crate) use memory::BodyMemory;
pub(crate) use rate::{Attempt, Limiter};
pub(crate) use share::{Share, Shares};

use framing::Follows;

/// What one client may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many requests a caller may send; without authentication, an address. None
    /// if absent, which is the default.
    pub rate: Option<Rate>,
    /// A request's head must have arrived after this time. Default 10 s.
    pub head_patience: Duration,
    /// A body must have arrived after this time and a second for every 16 KiB. Default 20 s.
    pub body_patience: Duration,
    /// Maximum number of connections; further connections wait. Default 4096.
    pub connections: usize,
    /// Streams that one caller may have open, where callers say who they are. Default 1,000.
    pub streams: usize,
    /// Requests with bodies that may be great (batches, uploads) that one caller may send at
    /// once, where callers say who they are: all of a body is held in memory, and its values
    /// take many times that. Default 8.
    pub great_bodies: usize,
    /// Bytes that the bodies of all requests together may have, until these are answered; whoever
    /// sends more is answered with 503. In memory they take several times that. Default 256 MiB.
    pub body_memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate: None,
            head_patience: Duration::from_secs(10),
            body_patience: Duration::from_secs(20),
            connections: 4096,
            streams: 1_000,
            great_bodies: 8,
            body_memory: 256 * 1024 * 1024,
        }
    }
}

/// A number of requests in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a second, in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once, after a pause.
    pub burst: NonZeroU32,
}

/// What every request passes first.
pub(crate) async fn guard<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let app = request.app_data::<web::Data<App>>();
    let patience = app.map_or(Limits::default().body_patience, |app| app.inner.settings.limits.body_patience);
    let memory = app.map(|app| Arc::new(app.inner.body_memory.of_one_request()));
    let base_url = app.map_or_else(|| Arc::from(""), |app| Arc::from(app.base_url()));
    let (follows, clear) = framing::check(&request);
    let refused = clear.and_then(|()| head::check(request.request())).and_then(|()| framing::must_be_plain(&request));
    let answering = async move {
        Ok::<_, actix_web::Error>(match refused {
            Err(refusal) => request.into_response(refusal.error_response()),
            Ok(()) => {
                // Until the answer: a handler has what the body said as long as it runs.
                body::hurry(&mut request, patience, memory.clone());
                next.call(request).await?.map_into_boxed_body()
            }
        })
    };
    let mut response = answered_by(base_url, answering).await?;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if follows == Follows::Nothing {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

//! What one client may use of the server.

mod body;
mod head;
mod rate;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};

use crate::App;
use crate::error::answered_by;

pub(crate) use body::is_late;
pub(crate) use rate::Limiter;

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
    /// Connections at most; others wait to be taken. Default 4096.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate: None,
            head_patience: Duration::from_secs(10),
            body_patience: Duration::from_secs(20),
            connections: 4096,
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
    let base_url = app.map_or_else(|| Arc::from(""), |app| Arc::from(app.base_url()));
    let answering = async move {
        Ok::<_, actix_web::Error>(match head::check(request.request()) {
            Err(refusal) => request.into_response(refusal.error_response()),
            Ok(()) => {
                body::hurry(&mut request, patience);
                next.call(request).await?.map_into_boxed_body()
            }
        })
    };
    let mut response = answered_by(base_url, answering).await?;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

//! How an answer of unknown length ends.

use actix_web::body::{BodySize, BoxBody, MessageBody, None as NoBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::{ConnectionType, Method, Version};

/// Fits the end of an answer to its request. An answer to HEAD has no body, so a stream is
/// not begun (actix-http would keep the connection until it ends). HTTP/1.0 knows no chunks
/// (RFC 9112, 6.1): there a stream ends with the connection.
pub(crate) fn fit(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    if response.response().body().size() != BodySize::Stream {
        return response;
    }
    if response.request().method() == Method::HEAD {
        return response.map_body(|_head, _stream| BoxBody::new(NoBody::new()));
    }
    let mut response = response;
    if response.request().version() < Version::HTTP_11 {
        let head = response.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    response
}

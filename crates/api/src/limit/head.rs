//! How large a request's head may be.

use actix_web::HttpRequest;

use crate::ApiError;
use crate::error::{HEADERS_TOO_LARGE, URI_TOO_LONG};

/// The address of a request may have this many bytes.
const URI_BYTES: usize = 8 * 1024;
/// Its headers may be this many …
const HEADERS: usize = 64;
/// … and have this many bytes, names and values.
const HEADER_BYTES: usize = 32 * 1024;

/// Refuses heads that are larger than any of use.
pub(super) fn check(request: &HttpRequest) -> Result<(), ApiError> {
    let uri = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    if uri > URI_BYTES {
        return Err(ApiError::new(URI_TOO_LONG, format!("An address may have at most {URI_BYTES} bytes.")));
    }
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in request.headers() {
        count += 1;
        bytes += name.as_str().len() + value.len();
    }
    if count > HEADERS || bytes > HEADER_BYTES {
        return Err(too_large());
    }
    Ok(())
}

/// A head has too many or too long headers.
pub(crate) fn too_large() -> ApiError {
    let detail = format!("A request may have at most {HEADERS} headers, of at most {HEADER_BYTES} bytes in total.");
    ApiError::new(HEADERS_TOO_LARGE, detail)
}

//! Routes that the shipped task types bring along, one file each.

mod search;

use actix_web::web::{self, ServiceConfig};
use longhaul_api::ApiError;

/// Adds the routes; for [`longhaul_api::AppBuilder::with_routes`].
pub fn configure(config: &mut ServiceConfig) {
    config.service(
        web::resource("/api/search")
            .route(web::get().to(search::handle))
            .default_service(web::to(|| async { Err::<&str, _>(ApiError::method_not_allowed("GET")) })),
    );
}

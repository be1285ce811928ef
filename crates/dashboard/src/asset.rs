//! What pages load: files that are part of the program.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, web};
use longhaul_api::ApiError;
use uuid::Uuid;

use crate::problem::NO_PAGE;

/// A file.
pub(crate) struct Asset {
    stem: &'static str,
    extension: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

pub(crate) static STYLE: Asset = Asset {
    stem: "dashboard",
    extension: "css",
    content_type: "text/css; charset=utf-8",
    bytes: include_bytes!("../assets/dashboard.css"),
};
pub(crate) static SCRIPT: Asset = Asset {
    stem: "dashboard",
    extension: "js",
    content_type: "text/javascript; charset=utf-8",
    bytes: include_bytes!("../assets/dashboard.js"),
};
pub(crate) static ICON: Asset = Asset {
    stem: "icon",
    extension: "svg",
    content_type: "image/svg+xml",
    bytes: include_bytes!("../assets/icon.svg"),
};

static NAMES: LazyLock<[(String, &'static Asset); 3]> = LazyLock::new(|| {
    [&STYLE, &SCRIPT, &ICON].map(|asset| {
        let print = Uuid::new_v5(&Uuid::NAMESPACE_URL, asset.bytes).simple().to_string();
        (format!("{}.{}.{}", asset.stem, &print[..12], asset.extension), asset)
    })
});

impl Asset {
    /// Its address, which changes with what is in it.
    pub(crate) fn address(&self) -> String {
        let named = NAMES.iter().find(|(_, asset)| std::ptr::eq(*asset, self));
        format!("/assets/{}", named.map_or("", |(name, _)| name))
    }
}

/// `200` with the file, for ever.
pub(crate) async fn serve(file: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let (_, asset) = NAMES
        .iter()
        .find(|(name, _)| *name == *file)
        .ok_or_else(|| ApiError::new(NO_PAGE, "This file is of another version; reload the page."))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, asset.content_type))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(asset.bytes))
}

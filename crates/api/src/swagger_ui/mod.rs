//! The files of Swagger UI, of the archive that `utoipa-swagger-ui-vendored` is.

mod zip;

use std::collections::HashMap;
use std::sync::LazyLock;

use actix_web::web::Bytes;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

/// What the page runs first, instead of the archive's.
const INITIALIZER: (&str, &[u8]) = ("swagger-initializer.js", include_bytes!("swagger-initializer.js"));

/// The file of this name.
pub(crate) fn file(name: &str) -> Option<Bytes> {
    static FILES: LazyLock<HashMap<&str, Bytes>> = LazyLock::new(|| {
        let mut files: HashMap<_, _> = zip::files(SWAGGER_UI_VENDORED, of_page).collect();
        files.insert(INITIALIZER.0, Bytes::from_static(INITIALIZER.1));
        files
    });
    FILES.get(name).cloned()
}

/// The name of what the archive has at `path`, if it is of the page: `swagger-ui-<version>/dist/<name>`.
fn of_page(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once('/')?;
    rest.strip_prefix("dist/").filter(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::{SWAGGER_UI_VENDORED, file, of_page, zip};

    #[test]
    fn all_files_of_the_page_are_whole() {
        let names: Vec<_> = zip::paths(SWAGGER_UI_VENDORED).filter_map(of_page).collect();
        assert!(names.contains(&"index.html") && names.contains(&"swagger-ui-bundle.js"), "{names:?}");
        for name in names {
            assert!(file(name).is_some_and(|bytes| !bytes.is_empty()), "{name}");
        }
        assert!(file("package.json").is_none());
    }
}

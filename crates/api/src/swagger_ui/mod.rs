//! The files of Swagger UI, of the archive that `utoipa-swagger-ui-vendored` is.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::LazyLock;

use actix_web::web::Bytes;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;
use zip::result::ZipResult;

/// What the page runs first, instead of the archive's.
const INITIALIZER: (&str, &[u8]) = ("swagger-initializer.js", include_bytes!("swagger-initializer.js"));

/// The file of this name.
pub(crate) fn file(name: &str) -> Option<Bytes> {
    // A test reads them all, so the archive is whole.
    static FILES: LazyLock<HashMap<String, Bytes>> = LazyLock::new(|| files().unwrap_or_default());
    FILES.get(name).cloned()
}

fn files() -> ZipResult<HashMap<String, Bytes>> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let mut files = HashMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let Some(name) = of_page(&file.name()?).map(str::to_owned) else { continue };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        files.insert(name, bytes.into());
    }
    files.insert(INITIALIZER.0.to_owned(), Bytes::from_static(INITIALIZER.1));
    Ok(files)
}

/// The name of what the archive has at `path`, if it is of the page: `swagger-ui-<version>/dist/<name>`.
fn of_page(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once('/')?;
    rest.strip_prefix("dist/").filter(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::{file, files};

    #[test]
    fn all_files_of_the_page_are_whole() {
        let files = files().expect("the archive is whole");
        for name in ["index.html", "swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
            assert!(file(name).is_some_and(|bytes| !bytes.is_empty() && bytes == files[name]), "{name}");
        }
        assert!(file("package.json").is_none());
    }
}

//! The table of routes: what is served, and what is said of it.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, ResponseError, Route};

use super::Operation;
use super::operation::RefusalPage;
use crate::ApiError;
use crate::html::as_page;
use crate::negotiation::preference;

/// Every route of an API: the server and its OpenAPI document are both made of
/// it, so that neither has what the other lacks.
#[derive(Default)]
pub struct Routes {
    resources: Vec<Resource>,
    unknown: Option<RefusalPage>,
}

/// An address (or several that are the same) and its methods.
pub struct Resource {
    pub(super) paths: Vec<Path>,
    body_limit: Option<usize>,
    pub(super) methods: Vec<Served>,
}

/// An address, with placeholders in braces.
pub(super) struct Path {
    pub(super) template: String,
    /// A placeholder and the regular expression that all of what stands for it must fit;
    /// where it does not, nothing is at this address.
    pub(super) only: Option<(&'static str, &'static str)>,
}

impl Path {
    /// The address as actix-web takes it: `{name:expression}` narrows a placeholder.
    fn pattern(&self) -> String {
        match self.only {
            None => self.template.clone(),
            Some((name, fits)) => self.template.replace(&format!("{{{name}}}"), &format!("{{{name}:{fits}}}")),
        }
    }
}

/// The template of a pattern of actix-web: without what narrows its placeholders.
pub(crate) fn template(pattern: &str) -> String {
    let (mut template, mut depth, mut narrowing) = (String::with_capacity(pattern.len()), 0_u32, false);
    for character in pattern.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match (character, depth) {
            ('}', 0) => narrowing = false,
            (':', 1) => narrowing = true,
            _ => {}
        }
        if !narrowing {
            template.push(character);
        }
    }
    template
}

pub(super) struct Served {
    pub(super) method: Method,
    pub(super) operation: Operation,
    route: Arc<dyn Fn() -> Route + Send + Sync>,
}

impl Routes {
    /// Adds a resource. One that is added first is asked first, so fixed addresses
    /// come before those with placeholders.
    ///
    /// # Panics
    /// When an address is there already, or an operation does not describe each
    /// placeholder of its address: defects of the program that its first start
    /// shows.
    pub fn add(&mut self, resource: Resource) {
        for Path { template: path, .. } in &resource.paths {
            let mut known = self.resources.iter().flat_map(|resource| &resource.paths);
            assert!(!known.any(|known| known.template == *path), "{path} is added twice");
            for served in &resource.methods {
                let mut described = served.operation.placeholders();
                let mut there = placeholders(path);
                described.sort_unstable();
                there.sort_unstable();
                assert_eq!(described, there, "{} {path}: its operation describes other placeholders", served.method);
            }
        }
        self.resources.push(resource);
    }

    /// Shows browsers that ask for what is not there a page of this kind, as the pages do
    /// whose address they may have mistyped.
    pub fn show_unknown_as(&mut self, page: RefusalPage) {
        self.unknown = Some(page);
    }

    /// How unknown addresses are shown to browsers, if not as problems.
    pub(crate) fn unknown_page(&self) -> Option<RefusalPage> {
        self.unknown
    }

    pub(super) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// Adds everything to an actix-web application.
    #[expect(clippy::disallowed_methods, reason = "the one place where the table becomes the server")]
    pub(crate) fn configure(&self, config: &mut ServiceConfig) {
        for resource in &self.resources {
            for path in &resource.paths {
                config.service(resource.serve(path));
            }
        }
    }
}

/// Bodies above this many bytes are great: what one caller sends of them at once is bounded.
const USUAL_BODY: usize = 1024 * 1024;

/// A refusal: for a browser as a page of this kind.
pub(crate) fn refused_as(
    request: &HttpRequest,
    refusal: ApiError,
    page: Option<RefusalPage>,
) -> Result<HttpResponse, ApiError> {
    match page.filter(|_| preference(request, "text", "html") > preference(request, "application", "json")) {
        Some(page) => Ok(as_page(refusal.error_response(), page(request, &refusal))),
        None => Err(refusal),
    }
}

/// The names between braces.
fn placeholders(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $method:ident;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name<F, Args>(self, handler: F, operation: Operation) -> Self
        where
            F: Handler<Args> + Send + Sync,
            Args: FromRequest + 'static,
            F::Output: Responder + 'static,
        {
            self.on(Method::$method, handler, operation)
        })*
    };
}

impl Resource {
    /// What is at this address; placeholders stand in braces.
    #[must_use]
    pub fn at(path: impl Into<String>) -> Self {
        Self { paths: vec![Path { template: path.into(), only: None }], body_limit: None, methods: Vec::new() }
    }

    /// The same is at this address, too.
    #[must_use]
    pub fn or_at(mut self, path: impl Into<String>) -> Self {
        self.paths.push(Path { template: path.into(), only: None });
        self
    }

    /// The same is at this address, too, if what stands for this placeholder fits a regular
    /// expression as a whole. Other addresses of that form are left to others.
    #[must_use]
    pub fn or_at_where(mut self, path: impl Into<String>, placeholder: &'static str, fits: &'static str) -> Self {
        self.paths.push(Path { template: path.into(), only: Some((placeholder, fits)) });
        self
    }

    /// Request bodies may have this many bytes, instead of as many as elsewhere.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    methods! {
        /// `POST`.
        post = POST;
        /// `PUT`.
        put = PUT;
        /// `PATCH`.
        patch = PATCH;
        /// `DELETE`.
        delete = DELETE;
    }

    /// `GET`, and `HEAD`, which answers the same without its body (RFC 9110, 9.3.2).
    #[must_use]
    pub fn get<F, Args>(self, handler: F, operation: Operation) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let head = operation.clone().without_bodies();
        self.on(Method::GET, handler.clone(), operation).on(Method::HEAD, handler, head)
    }

    fn on<F, Args>(mut self, method: Method, handler: F, operation: Operation) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let route = Arc::new({
            let method = method.clone();
            move || web::method(method.clone()).to(handler.clone())
        });
        self.methods.push(Served { method, operation, route });
        self
    }

    /// Whether its bodies may be greater than those of most.
    pub(super) fn takes_great_bodies(&self) -> bool {
        self.body_limit.is_some_and(|bytes| bytes > USUAL_BODY)
    }

    fn serve(&self, path: &Path) -> actix_web::Resource {
        let is_great = self.takes_great_bodies();
        let mut resource = web::resource(path.pattern());
        if let Some(limit) = self.body_limit {
            resource = resource.app_data(web::PayloadConfig::new(limit));
        }
        for served in &self.methods {
            let needs = served.operation.needs;
            let (page, for_pages) = (served.operation.page, served.operation.for_pages);
            let changes = served.method != Method::GET && served.method != Method::HEAD;
            let noted_as = (changes && !served.operation.notes_itself).then(|| Arc::from(served.operation.id.as_str()));
            let guard =
                from_fn(move |request, next| needs.guard(for_pages, is_great, noted_as.clone(), page, request, next));
            resource = resource.route((served.route)().wrap(guard));
        }
        let allow = self.methods.iter().map(|served| served.method.as_str()).collect::<Vec<_>>().join(", ");
        let page = self.methods.iter().find_map(|served| served.operation.page);
        resource.default_service(web::to(move |request: HttpRequest| {
            let answer = refused_as(&request, ApiError::method_not_allowed(allow.as_str()), page);
            async move { answer }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Path, template};

    #[test]
    fn a_pattern_tells_its_template() {
        let narrowed = Path { template: "/api/{id}/log".to_owned(), only: Some(("id", "[0-9]{8}(?:-[0-9]{4}){3}")) };
        assert_eq!(narrowed.pattern(), "/api/{id:[0-9]{8}(?:-[0-9]{4}){3}}/log");
        assert_eq!(template(&narrowed.pattern()), "/api/{id}/log");
        assert_eq!(template("/a:b/{c}/{d}"), "/a:b/{c}/{d}");
    }
}

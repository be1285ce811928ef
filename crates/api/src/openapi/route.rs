//! The table of routes: what is served, and what is said of it.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpResponse, Responder, Route};

use super::Operation;
use crate::ApiError;

/// Every route of an API: the server and its OpenAPI document are both made of
/// it, so that neither has what the other lacks.
#[derive(Default)]
pub struct Routes {
    resources: Vec<Resource>,
}

/// An address (or several that are the same) and its methods.
pub struct Resource {
    pub(super) paths: Vec<String>,
    body_limit: Option<usize>,
    pub(super) methods: Vec<Served>,
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
        for path in &resource.paths {
            assert!(!self.resources.iter().any(|known| known.paths.contains(path)), "{path} is added twice");
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
        Self { paths: vec![path.into()], body_limit: None, methods: Vec::new() }
    }

    /// The same is at this address, too.
    #[must_use]
    pub fn or_at(mut self, path: impl Into<String>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// Request bodies may have this many bytes, instead of as many as elsewhere.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    methods! {
        /// `GET`.
        get = GET;
        /// `POST`.
        post = POST;
        /// `PUT`.
        put = PUT;
        /// `PATCH`.
        patch = PATCH;
        /// `DELETE`.
        delete = DELETE;
    }

    /// `GET`, and `HEAD`, which answers the same without its body.
    #[must_use]
    pub fn get_and_head<F, Args>(self, handler: F, operation: Operation) -> Self
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

    fn serve(&self, path: &str) -> actix_web::Resource {
        let mut resource = web::resource(path);
        if let Some(limit) = self.body_limit {
            resource = resource.app_data(web::PayloadConfig::new(limit));
        }
        for served in &self.methods {
            let needs = served.operation.needs;
            let page = served.operation.page;
            let changes = served.method != Method::GET && served.method != Method::HEAD;
            let noted_as = (changes && !served.operation.notes_itself).then(|| Arc::from(served.operation.id.as_str()));
            let guard = from_fn(move |request, next| needs.guard(noted_as.clone(), page, request, next));
            resource = resource.route((served.route)().wrap(guard));
        }
        let allow = self.methods.iter().map(|served| served.method.as_str()).collect::<Vec<_>>().join(", ");
        resource.default_service(web::to(move || {
            let refusal = ApiError::method_not_allowed(allow.as_str());
            async move { Err::<HttpResponse, _>(refusal) }
        }))
    }
}

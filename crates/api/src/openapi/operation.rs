//! What a route does, in words and schemas. It stands next to its handler.

use actix_web::HttpRequest;
use longhaul_model::ProblemKind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::ApiError;
use crate::access::Access;
use crate::error::{
    BODY_TOO_SLOW, CROSS_SITE, FORBIDDEN, IDEMPOTENCY_KEY_REUSED, INTERNAL, INVALID_PARAMETERS, INVALID_REQUEST,
    NOT_ACCEPTABLE, NOT_JSON, PAYLOAD_TOO_LARGE, QUEUE_FULL, UNAVAILABLE, UNKNOWN_TASK_TYPE, UNSUPPORTED_MEDIA_TYPE,
};

/// What one method of one address does: what it takes, what it answers, and
/// every problem that it may answer with.
#[derive(Clone)]
pub struct Operation {
    pub(super) id: String,
    pub(super) tag: &'static str,
    pub(super) summary: String,
    pub(super) description: Option<String>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    pub(super) problems: Vec<ProblemKind>,
    /// Task types whose `create` step it runs; their problems are its own.
    pub(super) starts: Starts,
    /// It writes down itself what its caller does.
    pub(super) notes_itself: bool,
    /// What it asks of the caller.
    pub(super) needs: Access,
    /// It is taken from pages of this service only.
    pub(super) for_pages: bool,
    /// How its refusals look, if not like problems.
    pub(super) page: Option<RefusalPage>,
}

/// Makes a page of a refusal: its HTML.
pub type RefusalPage = fn(&HttpRequest, &ApiError) -> String;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Starts {
    Nothing,
    Only(&'static str),
    AnyType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

#[derive(Clone)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) required: bool,
    pub(super) description: String,
    pub(super) schema: Schema,
}

/// Where a body's schema comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// A type of ours.
    Type(fn(&mut SchemaGenerator) -> Schema),
    /// A component that the registered task types make.
    Component(&'static str),
    /// Bytes of any kind.
    Anything,
}

#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) media_type: &'static str,
    pub(super) source: Source,
    pub(super) description: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    /// Forms that the body may have; none for an answer without a body.
    pub(super) bodies: Vec<(&'static str, Source)>,
    /// Headers and what they say.
    pub(super) headers: Vec<(&'static str, &'static str)>,
}

impl Operation {
    /// `id` is the name that generated clients call it by, `tag` the group it
    /// is listed in. It may fail with `internal` and `unavailable`, as whatever asks
    /// the database. Its caller must be someone ([`Access::Caller`]) unless
    /// [`needs`](Operation::needs) says something else.
    #[must_use]
    pub fn new(tag: &'static str, id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            tag,
            summary: summary.into(),
            description: None,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            problems: vec![INTERNAL, UNAVAILABLE],
            starts: Starts::Nothing,
            notes_itself: false,
            needs: Access::Caller,
            for_pages: false,
            page: None,
        }
    }

    /// It is for people: what it answers is a page, and so is every refusal, those of its
    /// handler, too.
    #[must_use]
    pub fn shows_refusals_as(mut self, page: RefusalPage) -> Self {
        self.page = Some(page);
        self
    }

    /// It is what a form does: it is taken only if the browser says that a page of this
    /// service sent it.
    #[must_use]
    pub fn only_from_own_pages(mut self) -> Self {
        self.for_pages = true;
        self.problem(CROSS_SITE)
    }

    /// What it asks of the caller, instead of being someone.
    #[must_use]
    pub fn needs(mut self, access: Access) -> Self {
        self.needs = access;
        self
    }

    /// It writes down who did what itself, in the transaction that does it ([`Caller::note`]), as
    /// all of Longhaul's own do. What else changes something is written down once it is done.
    ///
    /// [`Caller::note`]: crate::Caller::note
    #[must_use]
    pub fn notes_itself(mut self) -> Self {
        self.notes_itself = true;
        self
    }

    /// It asks nobody, and never fails.
    #[must_use]
    pub fn without_database(mut self) -> Self {
        self.problems.retain(|kind| *kind != INTERNAL && *kind != UNAVAILABLE);
        self
    }

    /// More than the summary says.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// What stands in the address for `{name}`.
    #[must_use]
    pub fn path(mut self, name: &'static str, description: impl Into<String>, schema: Schema) -> Self {
        let description = description.into();
        self.parameters.push(Parameter { name, place: Place::Path, required: true, description, schema });
        self
    }

    /// A parameter of the query that may be left out. Unknown ones and wrong
    /// values are an `invalid-request`.
    #[must_use]
    pub fn query(mut self, name: &'static str, description: impl Into<String>, schema: Schema) -> Self {
        let description = description.into();
        self.parameters.push(Parameter { name, place: Place::Query, required: false, description, schema });
        self.problem(INVALID_REQUEST)
    }

    /// A parameter of the query that must be there.
    #[must_use]
    pub fn required_query(mut self, name: &'static str, description: impl Into<String>, schema: Schema) -> Self {
        self = self.query(name, description, schema);
        if let Some(parameter) = self.parameters.last_mut() {
            parameter.required = true;
        }
        self
    }

    /// A header of the request that may be left out.
    #[must_use]
    pub fn header(mut self, name: &'static str, description: impl Into<String>, schema: Schema) -> Self {
        let description = description.into();
        self.parameters.push(Parameter { name, place: Place::Header, required: false, description, schema });
        self
    }

    /// The request's body is JSON of this form, checked whole.
    #[must_use]
    pub fn reads<T: JsonSchema>(self) -> Self {
        self.reads_json(Source::Type(SchemaGenerator::subschema_for::<T>))
    }

    /// The same, of a form that the registered task types make.
    #[must_use]
    pub(crate) fn reads_component(self, name: &'static str) -> Self {
        self.reads_json(Source::Component(name))
    }

    fn reads_json(mut self, source: Source) -> Self {
        self.body = Some(Body { media_type: "application/json", source, description: None });
        self.problem(NOT_JSON)
            .problem(INVALID_REQUEST)
            .problem(PAYLOAD_TOO_LARGE)
            .problem(BODY_TOO_SLOW)
            .problem(UNSUPPORTED_MEDIA_TYPE)
    }

    /// The request's body is a file of any kind, up to a limit.
    #[must_use]
    pub fn reads_bytes(mut self, description: &'static str) -> Self {
        let body =
            Body { media_type: "application/octet-stream", source: Source::Anything, description: Some(description) };
        self.body = Some(body);
        self.problem(NOT_JSON).problem(PAYLOAD_TOO_LARGE).problem(BODY_TOO_SLOW).problem(UNSUPPORTED_MEDIA_TYPE)
    }

    /// The request's body is an HTML form's.
    #[must_use]
    pub(crate) fn reads_form(mut self, description: &'static str) -> Self {
        let media_type = "application/x-www-form-urlencoded";
        self.body = Some(Body { media_type, source: Source::Anything, description: Some(description) });
        self.problem(NOT_JSON).problem(PAYLOAD_TOO_LARGE).problem(BODY_TOO_SLOW)
    }

    /// It answers JSON, whatever the client accepts.
    #[must_use]
    pub fn answers<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.answers_as::<T>(status, "application/json", description)
    }

    /// It answers in this form; several forms of one status are alternatives.
    #[must_use]
    pub fn answers_as<T: JsonSchema>(self, status: u16, media_type: &'static str, description: &'static str) -> Self {
        self.answers_with(status, media_type, Source::Type(SchemaGenerator::subschema_for::<T>), description)
    }

    /// It answers bytes of this type.
    #[must_use]
    pub fn answers_bytes(self, status: u16, media_type: &'static str, description: &'static str) -> Self {
        self.answers_with(status, media_type, Source::Anything, description)
    }

    fn answers_with(
        mut self,
        status: u16,
        media_type: &'static str,
        source: Source,
        description: &'static str,
    ) -> Self {
        let at = match self.answers.iter().position(|answer| answer.status == status) {
            Some(at) => at,
            None => {
                self.answers.push(Answer { status, description, bodies: Vec::new(), headers: Vec::new() });
                self.answers.len() - 1
            }
        };
        self.answers[at].bodies.push((media_type, source));
        self
    }

    /// It answers without a body.
    #[must_use]
    pub fn answers_nothing(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push(Answer { status, description, bodies: Vec::new(), headers: Vec::new() });
        self
    }

    /// The last answer has this header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, description: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, description));
        }
        self
    }

    /// It refuses clients that do not take what it answers (406).
    #[must_use]
    pub fn negotiated(self) -> Self {
        self.problem(NOT_ACCEPTABLE)
    }

    /// It may answer with this problem.
    #[must_use]
    pub fn problem(mut self, kind: ProblemKind) -> Self {
        if !self.problems.contains(&kind) {
            self.problems.push(kind);
        }
        self
    }

    /// It checks parameters and runs `create` steps: of this type, or of any. Starting a
    /// task is written down with the task.
    #[must_use]
    pub fn starts_tasks(mut self, only: Option<&'static str>) -> Self {
        self.notes_itself = true;
        self.starts = only.map_or(Starts::AnyType, Starts::Only);
        self.stores_tasks().problem(INVALID_PARAMETERS).problem(FORBIDDEN)
    }

    /// It stores tasks, unless their queue is full.
    #[must_use]
    pub fn stores_tasks(self) -> Self {
        self.problem(QUEUE_FULL)
    }

    /// It checks whether its caller could start a task of any type, and starts none itself.
    #[must_use]
    pub(crate) fn prepares_tasks(mut self) -> Self {
        self.starts = Starts::AnyType;
        self.problem(FORBIDDEN)
    }

    /// It starts one task, and takes an `Idempotency-Key`.
    #[must_use]
    pub fn idempotent(self) -> Self {
        let key = json_schema!({"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"});
        let description = "The client's key for this request: a second request with it starts nothing and returns \
                           the task of the first.";
        self.header("Idempotency-Key", description, key).problem(INVALID_REQUEST).problem(IDEMPOTENCY_KEY_REUSED)
    }

    /// The names that it describes for its address.
    pub(super) fn placeholders(&self) -> Vec<&'static str> {
        self.parameters.iter().filter(|parameter| parameter.place == Place::Path).map(|found| found.name).collect()
    }

    /// The same for `HEAD`: answers have no bodies.
    pub(super) fn without_bodies(mut self) -> Self {
        self.id.push_str("Head");
        for answer in &mut self.answers {
            answer.bodies.clear();
        }
        self
    }

    /// It names a task type in its body.
    #[must_use]
    pub(crate) fn names_a_type(self) -> Self {
        self.problem(UNKNOWN_TASK_TYPE)
    }
}

/// The schema of a guid.
#[must_use]
pub fn guid() -> Schema {
    json_schema!({"type": "string", "format": "uuid"})
}

/// The schema of a text.
#[must_use]
pub fn text() -> Schema {
    json_schema!({"type": "string"})
}

/// The schema of a yes or no that is no if left out.
#[must_use]
pub fn boolean() -> Schema {
    json_schema!({"type": "boolean", "default": false})
}

/// The schema of a whole number in a range, and what it is if left out.
#[must_use]
pub fn integer(least: i64, most: i64, default: i64) -> Schema {
    json_schema!({"type": "integer", "minimum": least, "maximum": most, "default": default})
}

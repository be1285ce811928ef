//! Parameters against their type's JSON Schema, all complaints at once.

use std::marker::PhantomData;

use jsonschema::error::ValidationErrorKind;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One complaint about a request's parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ParameterError {
    /// Where, as a JSON pointer (RFC 6901) from the root of the request body.
    pub pointer: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl ParameterError {
    /// The same complaint about something that stands at `place` (a JSON pointer)
    /// of a greater body.
    #[must_use]
    pub fn below(self, place: &str) -> Self {
        Self { pointer: format!("{place}{}", self.pointer), message: self.message }
    }
}

/// Checks `value`, which stands at `root` (a JSON pointer) in the request's
/// body, and lists everything that is wrong with it. If it may hold a `secret`, values
/// are not repeated.
pub(crate) fn validate(
    validator: &jsonschema::Validator,
    schema: &Value,
    root: &str,
    value: &Value,
    secret: bool,
) -> Vec<ParameterError> {
    let mut errors: Vec<ParameterError> =
        validator.iter_errors(value).flat_map(|error| complaints(&error, schema, root, secret)).collect();
    errors.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    errors
}

/// The form of a request's body as a type with a JSON Schema: reads bodies with
/// the same complaints that a task's parameters get. Make it once and keep it.
pub struct Shape<T> {
    schema: Value,
    validator: jsonschema::Validator,
    shape: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + JsonSchema> Shape<T> {
    /// The form that `T`'s schema says.
    ///
    /// # Panics
    /// When `T` has no valid JSON Schema: a defect of the program.
    #[must_use]
    pub fn new() -> Self {
        let schema = schemars::schema_for!(T).to_value();
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("{}: the schema is invalid: {error}", std::any::type_name::<T>()));
        Self { schema, validator, shape: PhantomData }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// Everything that is wrong with it, with JSON pointers from its root.
    pub fn read(&self, body: Value) -> Result<T, Vec<ParameterError>> {
        let mut errors = validate(&self.validator, &self.schema, "", &body, false);
        if has_nul(&body) {
            let message = "The character U+0000 can't be stored; leave it out.".to_owned();
            errors.push(ParameterError { pointer: String::new(), message });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        serde_json::from_value(body)
            .map_err(|error| vec![ParameterError { pointer: String::new(), message: error.to_string() }])
    }
}

impl<T: DeserializeOwned + JsonSchema> Default for Shape<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a text in the value has the character U+0000, which PostgreSQL's text
/// and jsonb can't hold.
#[must_use]
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

fn complaints(
    error: &jsonschema::ValidationError<'_>,
    schema: &Value,
    root: &str,
    secret: bool,
) -> Vec<ParameterError> {
    let place = format!("{root}{}", error.instance_path());
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| ParameterError {
                pointer: format!("{place}/{}", escape(name)),
                message: format!("Unknown parameter; the known ones are {}.", known(schema)),
            })
            .collect(),
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![ParameterError {
                pointer: format!("{place}/{}", escape(name)),
                message: "This parameter is required.".to_owned(),
            }]
        }
        ValidationErrorKind::Format { format } if format == "uuid" && !secret => vec![ParameterError {
            pointer: place,
            message: format!("{} is not a guid such as c651ed19-5375-475a-a539-9f6401467130.", shown(error.instance())),
        }],
        // The value may be the secret.
        _ if secret => vec![ParameterError { pointer: place, message: bounded(&error.masked().to_string()) }],
        _ => vec![ParameterError { pointer: place, message: bounded(&error.to_string()) }],
    }
}

fn known(schema: &Value) -> String {
    let names: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn shown(value: &Value) -> String {
    bounded(&value.to_string())
}

/// What a client sent may be long; an answer need not repeat all of it.
fn bounded(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A member's name as a part of a JSON pointer (RFC 6901: `~` is `~0`, `/` is
/// `~1`), cut where it is very long.
#[must_use]
pub fn escape(name: &str) -> String {
    bounded(&name.replace('~', "~0").replace('/', "~1"))
}

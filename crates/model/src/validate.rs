//! Parameters and bodies of requests against their JSON Schema, all complaints at once.

use std::collections::HashSet;
use std::marker::PhantomData;

use jsonschema::error::ValidationErrorKind;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pointer::{escape, unescape};

/// One complaint about a request's parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// So many complaints are made of one value at most; a request can be wrong in more places
/// than an answer can list.
const COMPLAINTS_AT_MOST: usize = 10_000;
/// A pointer has so many characters at most; names of members may be as long as a request.
const POINTER_AT_MOST: usize = 1_000;

/// The keyword of a schema for what a complaint says that a value fails to be: a sentence such
/// as "A number from 0 to 9 is expected.". Without it, complaints are those of the validator.
/// It is no part of what the API's document shows.
pub const X_EXPECTED: &str = "x-expected";

/// Makes the schema of an object refuse members that it does not name, for a struct with
/// flattened parts, which serde's `deny_unknown_fields` does not go with:
/// `#[schemars(transform = closed)]`.
pub fn closed(schema: &mut Schema) {
    schema.insert("additionalProperties".to_owned(), false.into());
}

/// What complaints are about.
struct Subject<'a> {
    schema: &'a Value,
    /// Where the value stands in the request's body, as a JSON pointer.
    place: &'a str,
    /// What a member of an object is called.
    noun: &'static str,
    /// It may hold a secret, so values are not repeated.
    secret: bool,
}

/// Checks parameters, and lists everything that is wrong with them. If they may hold a
/// `secret`, values are not repeated.
pub(crate) fn validate(
    validator: &jsonschema::Validator,
    schema: &Value,
    parameters: &Value,
    secret: bool,
) -> Vec<ParameterError> {
    let subject = Subject { schema, place: "/Parameters", noun: "parameter", secret };
    subject.complaints(validator.iter_errors(parameters))
}

/// The form of a request's body as a type with a JSON Schema: reads bodies with
/// the same complaints that a task's parameters get. Make it once and keep it.
pub struct Shape<T> {
    schema: Value,
    validator: jsonschema::Validator,
    /// Members with parts that are left to other shapes.
    left: Vec<String>,
    shape: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + JsonSchema> Shape<T> {
    /// The form that `T`'s schema says.
    ///
    /// # Panics
    /// If `T` has no valid JSON Schema: a defect of the program.
    #[must_use]
    pub fn new() -> Self {
        Self::leaving(&[])
    }

    /// The same, but what stands at these JSON pointers of the schema is left to another
    /// shape: `T` has it as a [`Value`].
    ///
    /// # Panics
    /// As [`new`](Shape::new), and when the schema has no such place.
    #[must_use]
    pub fn leaving(places: &[&str]) -> Self {
        let mut schema = Self::schema();
        let name = std::any::type_name::<T>();
        for place in places {
            *schema.pointer_mut(place).unwrap_or_else(|| panic!("{name}: the schema has no {place}")) = true.into();
        }
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("{name}: the schema is invalid: {error}"));
        let left = places.iter().filter_map(|place| place.split('/').nth(2)).map(unescape).collect();
        Self { schema, validator, left, shape: PhantomData }
    }

    /// `T`'s schema without references.
    #[must_use]
    pub fn schema() -> Value {
        SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<T>()
            .to_value()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// Everything that is wrong with it, with JSON pointers from its root.
    pub fn read(&self, body: Value) -> Result<T, Vec<ParameterError>> {
        let mut errors = Vec::new();
        match self.read_rest(body, "", &mut errors) {
            Some(read) if errors.is_empty() => Ok(read),
            _ => Err(errors),
        }
    }

    /// Reads a part of a body, which stands at `place` (a JSON pointer), and adds everything
    /// that is wrong with it to `errors`. Members that are wrong are left out, so that the
    /// caller can check the rest; `None` if nothing can be read without them.
    pub fn read_rest(&self, mut part: Value, place: &str, errors: &mut Vec<ParameterError>) -> Option<T> {
        let before = errors.len();
        let subject = Subject { schema: &self.schema, place, noun: "member", secret: false };
        let mut wrong: HashSet<String> = HashSet::new();
        errors.extend(subject.complaints(self.validator.iter_errors(&part).inspect(|error| {
            if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind()
                && error.instance_path().as_str().is_empty()
            {
                wrong.extend(unexpected.iter().cloned());
            }
            wrong.extend(error.instance_path().as_str().split('/').nth(1).map(unescape));
        })));
        let members = part.as_object_mut()?;
        let here = members.iter().filter(|(name, _)| !self.left.contains(name));
        for (name, value) in here.filter(|(name, value)| name.contains('\0') || has_nul(value)) {
            let message = "The character U+0000 can't be stored; omit it.".to_owned();
            errors.push(ParameterError { pointer: format!("{place}/{}", shown_name(name)), message });
            if value.is_string() {
                wrong.insert(name.clone());
            }
        }
        members.retain(|name, _| !wrong.contains(name.as_str()));
        match serde_json::from_value(part) {
            Ok(read) => Some(read),
            // What is missing has been complained about.
            Err(_) if errors.len() > before => None,
            Err(error) => {
                errors.push(ParameterError { pointer: place.to_owned(), message: error.to_string() });
                None
            }
        }
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

impl Subject<'_> {
    fn complaints<'e>(&self, errors: impl Iterator<Item = jsonschema::ValidationError<'e>>) -> Vec<ParameterError> {
        let mut complaints: Vec<ParameterError> =
            errors.flat_map(|error| self.complaints_of(&error)).take(COMPLAINTS_AT_MOST).collect();
        complaints.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        // One value may fail several keywords that are all explained by one sentence.
        complaints.dedup();
        complaints
    }

    fn complaints_of(&self, error: &jsonschema::ValidationError<'_>) -> Vec<ParameterError> {
        let place = cut(&format!("{}{}", self.place, error.instance_path()), POINTER_AT_MOST);
        let (object, expected) = self.found(error.evaluation_path().as_str());
        let noun = self.noun;
        let message = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let message = format!("Unknown {noun}; the known ones are {}.", known(object));
                let complaint = |name: &String| ParameterError {
                    pointer: format!("{place}/{}", shown_name(name)),
                    message: message.clone(),
                };
                return unexpected.iter().take(COMPLAINTS_AT_MOST).map(complaint).collect();
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let expected = object["properties"][name][X_EXPECTED].as_str();
                let message =
                    format!("This {noun} is required. {}", expected.unwrap_or_default()).trim_end().to_owned();
                return vec![ParameterError { pointer: format!("{place}/{}", shown_name(name)), message }];
            }
            _ if expected.is_some() => expected.unwrap_or_default().to_owned(),
            ValidationErrorKind::Type { .. } if object["properties"].is_object() => {
                format!("An object with the {noun}s {} is expected.", known(object))
            }
            ValidationErrorKind::Format { format } if format == "uuid" && !self.secret => {
                format!("{} is not a guid such as c651ed19-5375-475a-a539-9f6401467130.", shown(error.instance()))
            }
            // The value may be the secret.
            _ if self.secret => bounded(&error.masked().to_string()),
            _ => bounded(&error.to_string()),
        };
        vec![ParameterError { pointer: place, message }]
    }

    /// The schema whose keyword stands at the end of this path, and what is expected there.
    fn found(&self, path: &str) -> (&Value, Option<&str>) {
        let (mut here, mut holder, mut expected) = (self.schema, self.schema, None);
        for token in path.split('/').skip(1) {
            holder = here;
            expected = here[X_EXPECTED].as_str().or(expected);
            let next = match (token, here) {
                ("$ref", _) => {
                    here["$ref"].as_str().and_then(|to| to.strip_prefix('#')).and_then(|to| self.schema.pointer(to))
                }
                (_, Value::Array(items)) => token.parse().ok().and_then(|at: usize| items.get(at)),
                _ => here.get(unescape(token)),
            };
            let Some(next) = next else { break };
            here = next;
        }
        (holder, expected)
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
    cut(text, 200)
}

fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A member's name as a part of a pointer that an answer shows.
fn shown_name(name: &str) -> String {
    bounded(&escape(name))
}

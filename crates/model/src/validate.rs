//! Parameters against their type's JSON Schema, all complaints at once.

use jsonschema::error::ValidationErrorKind;
use serde::Serialize;
use serde_json::Value;

/// One complaint about a request's parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParameterError {
    /// Where, as a JSON pointer (RFC 6901) from the root of the request body.
    pub pointer: String,
    /// What is wrong and what is expected.
    pub message: String,
}

/// Checks `parameters` and lists everything that is wrong with them.
pub(crate) fn validate(validator: &jsonschema::Validator, schema: &Value, parameters: &Value) -> Vec<ParameterError> {
    let mut errors: Vec<ParameterError> =
        validator.iter_errors(parameters).flat_map(|error| complaints(&error, schema)).collect();
    errors.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    errors
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

fn complaints(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Vec<ParameterError> {
    let place = format!("/Parameters{}", error.instance_path());
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
        ValidationErrorKind::Format { format } if format == "uuid" => vec![ParameterError {
            pointer: place,
            message: format!("{} is not a guid such as c651ed19-5375-475a-a539-9f6401467130.", shown(error.instance())),
        }],
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

/// RFC 6901: `~` is `~0`, `/` is `~1`.
fn escape(name: &str) -> String {
    bounded(&name.replace('~', "~0").replace('/', "~1"))
}

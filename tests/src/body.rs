//! Bodies of tasks.

use serde_json::Value;

/// The answer at a task's own address has every member of a body that was sent elsewhere (a
/// 202, a stream), as it is there. It has more.
///
/// # Panics
/// When it has not.
pub fn assert_shows(whole: &Value, body: &Value) {
    for (name, value) in body.as_object().expect("an object") {
        assert_eq!(whole.get(name), Some(value), "{name} of {body} in {whole}");
    }
}

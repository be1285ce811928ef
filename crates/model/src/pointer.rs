//! Names as parts of JSON pointers (RFC 6901).

/// A member's name as a part of a JSON pointer: `~` is `~0`, `/` is `~1`.
#[must_use]
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The name that a part of a JSON pointer stands for.
#[must_use]
pub fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{escape, unescape};

    #[test]
    fn a_pointer_finds_every_name() {
        for name in ["a", "", "/", "~", "~1", "~0/", "a/b~c", "~~01//"] {
            let part = escape(name);
            assert_eq!(unescape(&part), name);
            let mut object = json!({"other": 1});
            object[name] = json!("found");
            assert_eq!(object.pointer(&format!("/{part}")), Some(&Value::from("found")), "{name}");
        }
    }
}

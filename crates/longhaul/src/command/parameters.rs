//! Parameters of tasks as people type them.

use std::io::Read;

use anyhow::{Context, anyhow, bail};
use longhaul_model::beyond_64_bits;
use serde_json::{Map, Value, json};

use super::value;

/// Parameters of pairs as they are typed.
pub(crate) fn pairs(pairs: &[String], schema: &Value) -> anyhow::Result<Map<String, Value>> {
    let mut parameters = Map::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').with_context(|| format!("'{pair}' is not NAME=VALUE"))?;
        let (name, value) = match name.strip_suffix(':') {
            Some(name) => {
                let json = value::json(value);
                (name, json.map_err(|why| anyhow!("'{value}' of {name} is {why}; use NAME=VALUE for a string"))?)
            }
            None if takes_text(&schema["properties"][name]) => (name, json!(value)),
            None if beyond_64_bits(value).is_some() && serde_json::from_str::<Value>(value).is_ok() => {
                bail!("'{value}' of {name} has more than 64 bits and would be rounded; {name}:='\"…\"' sends a string")
            }
            None => (name, serde_json::from_str(value).unwrap_or_else(|_| json!(value))),
        };
        parameters.insert(name.to_owned(), value);
    }
    Ok(parameters)
}

fn takes_text(schema: &Value) -> bool {
    match &schema["type"] {
        Value::String(kind) => kind == "string",
        Value::Array(kinds) => kinds.contains(&json!("string")),
        _ => false,
    }
}

/// An object given as text, as a file, or on standard input.
pub(crate) fn read_object(given: &str) -> anyhow::Result<Map<String, Value>> {
    let text = match (given, given.strip_prefix('@')) {
        ("-", _) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input could not be read")?;
            text
        }
        (_, Some(path)) => std::fs::read_to_string(path).with_context(|| format!("{path} could not be read"))?,
        _ => given.to_owned(),
    };
    match value::json(&text).map_err(|why| anyhow!("the parameters are {why}"))? {
        Value::Object(members) => Ok(members),
        _ => bail!("the parameters are not a JSON object"),
    }
}

#[cfg(test)]
mod tests {
    use super::pairs;
    use serde_json::{Value, json};

    #[test]
    fn a_value_is_text_where_the_type_takes_text_and_json_elsewhere() {
        let schema = json!({"properties": {"Key": {"type": "string"}, "Id": {"type": ["string", "null"]}}});
        let given = ["Key=12", "Id=true", "Optimize=true", "Count=3", "Name=ab=c", "Id2:=null"].map(str::to_owned);
        let read = Value::Object(pairs(&given, &schema).expect("pairs"));
        let expected = json!({"Key": "12", "Id": "true", "Optimize": true, "Count": 3, "Name": "ab=c", "Id2": null});
        assert_eq!(read, expected);
        assert!(pairs(&["Optimize".to_owned()], &schema).is_err());
        for wrong in ["Key:=x", "Count=99999999999999999999", "Count:=[99999999999999999999]"] {
            assert!(pairs(&[wrong.to_owned()], &schema).is_err(), "{wrong}");
        }
        assert!(pairs(&["Key=99999999999999999999".to_owned()], &schema).is_ok(), "a text is kept");
    }
}

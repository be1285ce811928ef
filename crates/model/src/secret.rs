//! Parameters that nobody but the handler is to read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::Keyring;

/// What stands for a secret wherever someone might look.
pub const REDACTED: &str = "[redacted]";
/// The only member of a sealed secret's object.
const SEALED: &str = "$sealed";
/// The schema's word for it.
const X_SECRET: &str = "x-secret";

/// A parameter that is a secret: a password, a token. It is a `T` on the wire; at rest it
/// is encrypted with the host's [`Keyring`], and it is opened for `create` and `run` only.
///
/// ```
/// # use longhaul_model::schemars::JsonSchema;
/// # use longhaul_model::Secret;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// # #[schemars(crate = "longhaul_model::schemars")]
/// #[serde(deny_unknown_fields)]
/// struct FetchMail {
///     user: String,
///     password: Secret<String>,
/// }
/// ```
///
/// `Debug` and `Serialize` show `[redacted]`, so it does not count for
/// [`same_parameters`](crate::same_parameters). Where its text of four characters or more
/// turns up in the task's log, messages, errors, checkpoint or result, it is replaced.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Keeps it to itself.
    pub fn new(secret: T) -> Self {
        Self(secret)
    }

    /// The secret itself.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: JsonSchema> JsonSchema for Secret<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Secret_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert(X_SECRET.to_owned(), true.into());
        schema.insert("writeOnly".to_owned(), true.into());
        schema
    }
}

/// What [`Secret`] does when it is written or read, in the call that [`within`] makes.
enum Scope {
    /// Written sealed, for a task of this type.
    Seal(Keyring, &'static str),
    /// Written as a digest.
    Digest(Keyring),
    /// Read sealed, for a task of this type; what was read is kept.
    Open(Option<Keyring>, &'static str, Vec<String>),
    /// Written as usual; whether one was is kept.
    Look(bool),
}

thread_local! {
    // Serde hands nothing from a struct to its members.
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

fn within<R>(scope: Scope, call: impl FnOnce() -> R) -> (R, Option<Scope>) {
    /// Also after a panic.
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            SCOPE.with_borrow_mut(|scope| *scope = None);
        }
    }
    SCOPE.with_borrow_mut(|now| *now = Some(scope));
    let leave = Leave;
    let result = call();
    let scope = SCOPE.with_borrow_mut(Option::take);
    drop(leave);
    (result, scope)
}

/// The JSON form in which a task is stored: secrets sealed.
pub(crate) fn sealed(task: &impl Serialize, keyring: &Keyring, type_name: &'static str) -> serde_json::Result<Value> {
    within(Scope::Seal(keyring.clone(), type_name), || serde_json::to_value(task)).0
}

/// The JSON form of a task that has no secrets; `None` if it has.
pub(crate) fn plain(task: &impl Serialize) -> serde_json::Result<Option<Value>> {
    let (value, scope) = within(Scope::Look(false), || serde_json::to_value(task));
    Ok(if matches!(scope, Some(Scope::Look(true))) { None } else { Some(value?) })
}

/// The same text for the same task, without its secrets.
pub(crate) fn digested(task: &impl Serialize, keyring: &Keyring) -> serde_json::Result<Value> {
    within(Scope::Digest(keyring.clone()), || serde_json::to_value(task)).0
}

/// A task as it was stored, and the texts of its secrets.
pub(crate) fn opened<T: DeserializeOwned>(
    stored: Value,
    keyring: Option<&Keyring>,
    type_name: &'static str,
) -> (serde_json::Result<T>, Vec<String>) {
    let (task, scope) = within(Scope::Open(keyring.cloned(), type_name, Vec::new()), || serde_json::from_value(stored));
    let texts = match scope {
        Some(Scope::Open(_, _, texts)) => texts,
        _ => Vec::new(),
    };
    (task, texts)
}

/// Whether a schema has a secret anywhere.
pub(crate) fn has_secret(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.get(X_SECRET) == Some(&Value::Bool(true)) || members.values().any(has_secret),
        Value::Array(items) => items.iter().any(has_secret),
        _ => false,
    }
}

/// Stored parameters for people: secrets as `[redacted]`. The views show the same.
#[must_use]
pub fn redacted(parameters: &Value) -> Value {
    match parameters {
        Value::Object(members) if members.len() == 1 && members.contains_key(SEALED) => REDACTED.into(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), redacted(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(redacted).collect(),
        other => other.clone(),
    }
}

impl<T: Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = || serde_json::to_vec(&self.0).map_err(|_| S::Error::custom("a secret has no JSON form"));
        let (sealed, digest) = match SCOPE.take() {
            Some(Scope::Seal(keyring, type_name)) => {
                let sealed = keyring.seal(type_name.as_bytes(), text()?);
                SCOPE.set(Some(Scope::Seal(keyring, type_name)));
                (Some(sealed.ok_or_else(|| S::Error::custom("a secret could not be sealed"))?), None)
            }
            Some(Scope::Digest(keyring)) => {
                let digest = keyring.digest(&text()?);
                SCOPE.set(Some(Scope::Digest(keyring)));
                (None, Some(digest))
            }
            Some(Scope::Look(_)) => {
                SCOPE.set(Some(Scope::Look(true)));
                (None, None)
            }
            other => {
                SCOPE.set(other);
                (None, None)
            }
        };
        if let Some(sealed) = sealed {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(SEALED, &sealed)?;
            return map.end();
        }
        serializer.serialize_str(digest.as_deref().unwrap_or(REDACTED))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let value = match SCOPE.take() {
            Some(Scope::Open(keyring, type_name, mut texts)) => {
                let opened = open(value, keyring.as_ref(), type_name);
                if let Ok(value) = &opened {
                    collect(value, &mut texts);
                }
                SCOPE.set(Some(Scope::Open(keyring, type_name, texts)));
                opened.map_err(D::Error::custom)?
            }
            other => {
                SCOPE.set(other);
                value
            }
        };
        // The usual complaint would show the secret.
        serde_json::from_value(value).map(Self).map_err(|_| D::Error::custom("a secret is not of its type"))
    }
}

fn open(value: Value, keyring: Option<&Keyring>, type_name: &str) -> Result<Value, String> {
    let Some(sealed) = value.as_object().filter(|members| members.len() == 1).and_then(|members| members.get(SEALED))
    else {
        return Ok(value);
    };
    let keyring = keyring.ok_or("a secret can't be opened: this worker has no key; set LONGHAUL_SECRET_KEY")?;
    let opened = keyring
        .open(type_name.as_bytes(), sealed.as_str().unwrap_or_default())
        .map_err(|error| format!("a secret can't be opened: {error}"))?;
    serde_json::from_slice(&opened).map_err(|_| "a secret can't be opened: it is not JSON".to_owned())
}

/// Shorter texts turn up by chance.
const SHORTEST: usize = 4;

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= SHORTEST => texts.push(text.clone()),
        Value::Number(number) => texts.extend(Some(number.to_string()).filter(|digits| digits.len() >= SHORTEST)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect(member, texts)),
        _ => {}
    }
}

/// Texts that are to be kept out of whatever an attempt says.
pub(crate) struct Hidden(Vec<String>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Hidden {
    /// Also as they stand in JSON and in Rust's `Debug`. Longer ones first: one may be a
    /// part of another.
    pub(crate) fn new(mut texts: Vec<String>) -> Self {
        let quoted = |text: &String| [serde_json::to_string(text).unwrap_or_default(), format!("{text:?}")];
        let inner = |quoted: String| quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
        let escaped: Vec<String> = texts.iter().flat_map(quoted).map(inner).filter(|text| !text.is_empty()).collect();
        texts.extend(escaped);
        texts.sort_unstable();
        texts.dedup();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(texts)
    }

    pub(crate) fn text(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), REDACTED) } else { text }
        })
    }

    pub(crate) fn json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.json(item)).collect(),
            Value::Object(members) => {
                let hidden = members.into_iter().map(|(name, value)| (self.text(name), self.json(value)));
                hidden.collect::<serde_json::Map<_, _>>().into()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::{Hidden, Secret, digested, has_secret, opened, plain, redacted, sealed};
    use crate::{Keyring, SecretKey};

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Fetch {
        user: String,
        password: Secret<String>,
        tokens: Vec<Secret<String>>,
        pin: Option<Secret<u32>>,
    }

    fn fetch() -> Fetch {
        Fetch {
            user: "ada".to_owned(),
            password: Secret::new("hunter2".to_owned()),
            tokens: vec![Secret::new("t0ken".to_owned())],
            pin: None,
        }
    }

    fn keyring() -> Keyring {
        Keyring::new(SecretKey::parse(&"a".repeat(64)).expect("a key"), Vec::new())
    }

    #[test]
    fn what_is_shown_or_written_by_the_way_is_redacted() {
        assert!(!format!("{:?}", fetch()).contains("hunter2"));
        let written = json!({"user": "ada", "password": "[redacted]", "tokens": ["[redacted]"], "pin": null});
        assert_eq!(serde_json::to_value(fetch()).expect("JSON"), written);
        assert_eq!(plain(&fetch()).expect("JSON"), None);
        assert_eq!(plain(&json!({"a": 1})).expect("JSON"), Some(json!({"a": 1})));
    }

    #[test]
    fn what_is_stored_is_sealed_and_opens_for_its_type() {
        let stored = sealed(&fetch(), &keyring(), "Fetch").expect("sealed");
        assert!(!stored.to_string().contains("hunter2") && !stored.to_string().contains("t0ken"), "{stored}");
        let written = json!({"user": "ada", "password": "[redacted]", "tokens": ["[redacted]"], "pin": null});
        assert_eq!(redacted(&stored), written);
        let (task, texts) = opened::<Fetch>(stored.clone(), Some(&keyring()), "Fetch");
        assert_eq!(task.expect("opened"), fetch());
        assert_eq!(texts, ["hunter2", "t0ken"]);
        for (keyring, type_name) in [(None, "Fetch"), (Some(keyring()), "Other")] {
            let error = opened::<Fetch>(stored.clone(), keyring.as_ref(), type_name).0.expect_err("closed");
            assert!(error.to_string().contains("can't be opened"), "{error}");
        }
    }

    #[test]
    fn a_digest_tells_tasks_apart_and_nothing_else() {
        let digest = digested(&fetch(), &keyring()).expect("JSON");
        assert_eq!(digest, digested(&fetch(), &keyring()).expect("JSON"));
        assert!(!digest.to_string().contains("hunter2"));
        let other = Fetch { password: Secret::new("hunter3".to_owned()), ..fetch() };
        assert_ne!(digest, digested(&other, &keyring()).expect("JSON"));
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_repeated_in_the_complaint() {
        let error = serde_json::from_value::<Secret<u32>>(json!("hunter2")).expect_err("no number");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn the_schema_says_what_is_secret() {
        let schema = schemars::schema_for!(Fetch).to_value();
        assert!(has_secret(&schema));
        assert_eq!(schema["properties"]["password"], json!({"type": "string", "writeOnly": true, "x-secret": true}));
        assert!(!has_secret(&json!({"properties": {"user": {"type": "string"}}})));
    }

    #[test]
    fn secrets_are_found_in_whatever_is_said() {
        let hidden = Hidden::new(vec!["hunter2".to_owned(), "hunter2345".to_owned()]);
        assert_eq!(hidden.text("a hunter2345 and a hunter2".to_owned()), "a [redacted] and a [redacted]");
        assert_eq!(hidden.json(json!({"x": ["hunter2", 1]})), json!({"x": ["[redacted]", 1]}));
        let quoted = "a\"b\\z\n\u{e9}";
        let hidden = Hidden::new(vec![quoted.to_owned()]);
        for said in [quoted.to_owned(), format!("{quoted:?}"), json!(quoted).to_string(), format!("{:?}", [quoted])] {
            let hidden = hidden.text(format!("<{said}>"));
            assert!(hidden.contains("[redacted]") && !hidden.contains('z'), "{said}: {hidden}");
        }
        let mut texts = Vec::new();
        super::collect(&json!({"pin": 4711, "short": 12, "text": "abc"}), &mut texts);
        assert_eq!(texts, ["4711"]);
    }
}

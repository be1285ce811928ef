//! Parameters that only the handler may read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::Keyring;
use crate::sealing::{Holder, Opener, SEALED, beside, bound_to, each_sealed};

/// The text that replaces a secret wherever it would be visible.
pub const REDACTED: &str = "[redacted]";
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
/// [`same_parameters`](crate::same_parameters). If its text has at least four characters, it is
/// also replaced in the task's log, messages, errors, checkpoint and result.
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
    /// Written as a mark, for what is to be sealed there; the marks begin with this text,
    /// which nobody else knows.
    Seal(String, Vec<Vec<u8>>),
    /// Written as a digest.
    Digest(Keyring),
    /// Read sealed; what was read is kept.
    Open(Opener, Vec<String>),
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

/// The JSON form in which a task is stored: secrets sealed, each bound to the task's type,
/// its holder, its place in the parameters, and what stands beside it.
pub(crate) fn sealed(
    task: &impl Serialize,
    keyring: &Keyring,
    type_name: &'static str,
    holder: Holder<'_>,
) -> serde_json::Result<Value> {
    let mark = format!("{}:", Uuid::now_v7());
    let (written, scope) = within(Scope::Seal(mark.clone(), Vec::new()), || serde_json::to_value(task));
    let plain = match scope {
        Some(Scope::Seal(_, plain)) => plain,
        _ => Vec::new(),
    };
    let mut written = written?;
    let beside = beside(&written);
    let (form, holder) = holder.seals_as();
    let mut seal = |place: &str, text: &mut String| {
        let Some(number) = text.strip_prefix(mark.as_str()).and_then(|number| number.parse::<usize>().ok()) else {
            return Ok(());
        };
        let plain = plain.get(number).cloned().unwrap_or_default();
        *text = keyring
            .seal_as(form, &bound_to(type_name, place, &holder, &beside), plain)
            .ok_or_else(|| <serde_json::Error as serde::ser::Error>::custom("a secret could not be encrypted"))?;
        Ok(())
    };
    each_sealed(&mut written, &mut String::new(), &mut seal)?;
    Ok(written)
}

/// The JSON form of a task that has no secrets; `None` if it has.
pub(crate) fn plain(task: &impl Serialize) -> serde_json::Result<Option<Value>> {
    let (value, scope) = within(Scope::Look(false), || serde_json::to_value(task));
    Ok(if matches!(scope, Some(Scope::Look(true))) { None } else { Some(value?) })
}

/// Whether a task has a secret that is there.
pub(crate) fn has(task: &impl Serialize) -> bool {
    matches!(plain(task), Ok(None))
}

/// The same text for the same task, without its secrets.
pub(crate) fn digested(task: &impl Serialize, keyring: &Keyring) -> serde_json::Result<Value> {
    within(Scope::Digest(keyring.clone()), || serde_json::to_value(task)).0
}

/// A task as it was stored, and the texts of its secrets.
pub(crate) fn opened<T: DeserializeOwned>(
    mut stored: Value,
    keyring: Option<&Keyring>,
    type_name: &'static str,
    holder: Holder<'_>,
) -> (serde_json::Result<T>, Vec<String>) {
    let opener = Opener::new(keyring.cloned(), type_name, holder, &mut stored);
    let (task, scope) = within(Scope::Open(opener, Vec::new()), || serde_json::from_value(stored));
    let texts = match scope {
        Some(Scope::Open(_, texts)) => texts,
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

/// Stored parameters with secrets as `[redacted]`. The views show the same.
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
        let text = || serde_json::to_vec(&self.0).map_err(|_| S::Error::custom("a secret can't be written as JSON"));
        let (sealed, digest) = match SCOPE.take() {
            Some(Scope::Seal(mark, mut plain)) => {
                let marked = format!("{mark}{}", plain.len());
                plain.push(text()?);
                SCOPE.set(Some(Scope::Seal(mark, plain)));
                (Some(marked), None)
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
            Some(Scope::Open(opener, mut texts)) => {
                let opened = opener.open(value);
                if let Ok(value) = &opened {
                    collect(value, &mut texts);
                }
                SCOPE.set(Some(Scope::Open(opener, texts)));
                opened.map_err(D::Error::custom)?
            }
            other => {
                SCOPE.set(other);
                value
            }
        };
        // The usual complaint would show the secret.
        serde_json::from_value(value).map(Self).map_err(|_| D::Error::custom("a secret does not have its type"))
    }
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
            // As a whole: its digits may stand in another number by chance.
            Value::Number(number) if self.0.contains(&number.to_string()) => REDACTED.into(),
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

    use uuid::Uuid;

    use super::{Hidden, Holder, Secret, digested, has_secret, opened, plain, redacted, sealed};
    use crate::{Keyring, SecretKey};

    const OURS: Holder<'_> = Holder::task(Uuid::from_u128(1));

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
        let stored = sealed(&fetch(), &keyring(), "Fetch", OURS).expect("sealed");
        assert!(!stored.to_string().contains("hunter2") && !stored.to_string().contains("t0ken"), "{stored}");
        let written = json!({"user": "ada", "password": "[redacted]", "tokens": ["[redacted]"], "pin": null});
        assert_eq!(redacted(&stored), written);
        let (task, texts) = opened::<Fetch>(stored.clone(), Some(&keyring()), "Fetch", OURS);
        assert_eq!(task.expect("opened"), fetch());
        assert_eq!(texts, ["hunter2", "t0ken"]);
        for (keyring, type_name) in [(None, "Fetch"), (Some(keyring()), "Other")] {
            let error = opened::<Fetch>(stored.clone(), keyring.as_ref(), type_name, OURS).0.expect_err("closed");
            assert!(error.to_string().contains("can't be decrypted"), "{error}");
        }
    }

    #[test]
    fn a_sealed_secret_opens_where_it_was_sealed_and_nowhere_else() {
        let stored = sealed(&fetch(), &keyring(), "Fetch", OURS).expect("sealed");
        let closed =
            |stored: serde_json::Value| opened::<Fetch>(stored, Some(&keyring()), "Fetch", OURS).0.expect_err("closed");
        let mut moved = stored.clone();
        moved["tokens"][0] = moved["password"].take();
        moved["password"] = json!("guess");
        assert!(closed(moved).to_string().contains("it was changed after its encryption"));
        let mut copied = stored.clone();
        copied["tokens"][0] = copied["password"].clone();
        assert!(closed(copied).to_string().contains("its object has other members"));
        // As it was sealed before the place counted.
        let old = keyring().seal(b"Fetch", b"\"hunter2\"".to_vec()).expect("sealed");
        let before = json!({"user": "ada", "password": {"$sealed": old}, "tokens": [], "pin": null});
        let task = opened::<Fetch>(before, Some(&keyring()), "Fetch", OURS).0.expect("opened");
        assert_eq!(task.password.expose(), "hunter2");
        // As it was before the task counted.
        let old = keyring().seal(b"Fetch\0/password", b"\"hunter2\"".to_vec()).expect("sealed");
        let before = json!({"user": "ada", "password": {"$sealed": old}, "tokens": [], "pin": null});
        assert!(opened::<Fetch>(before, Some(&keyring()), "Fetch", OURS).0.is_ok());
    }

    #[test]
    fn a_sealed_secret_opens_for_its_task_or_its_schedule_and_beside_what_it_was_sealed_with() {
        let open =
            |stored: &serde_json::Value, holder| opened::<Fetch>(stored.clone(), Some(&keyring()), "Fetch", holder).0;
        let (nightly, other) = (Uuid::from_u128(2), Uuid::from_u128(3));
        let of_schedule = |id, name| Holder::Task { id, created_by: Some(name) };

        let stored = sealed(&fetch(), &keyring(), "Fetch", OURS).expect("sealed");
        assert!(open(&stored, OURS).is_ok());
        for holder in [Holder::task(other), Holder::Schedule("a"), of_schedule(other, "schedule:a")] {
            assert!(open(&stored, holder).is_err(), "{holder:?}");
        }
        let mut elsewhere = stored.clone();
        elsewhere["user"] = json!("eve");
        assert!(open(&elsewhere, OURS).is_err(), "another user");
        let mut more = stored.clone();
        more["more"] = json!(true);
        assert!(open(&more, OURS).is_err(), "a member more");

        let stored = sealed(&fetch(), &keyring(), "Fetch", Holder::Schedule("a")).expect("sealed");
        assert!(open(&stored, Holder::Schedule("a")).is_ok());
        assert!(open(&stored, of_schedule(nightly, "schedule:a")).is_ok(), "a task that it started");
        for holder in [
            Holder::Schedule("b"),
            Holder::task(nightly),
            of_schedule(nightly, "schedule:b"),
            of_schedule(nightly, "key:a"),
        ] {
            assert!(open(&stored, holder).is_err(), "{holder:?}");
        }
    }

    #[test]
    fn numbers_that_the_database_writes_in_its_own_way_do_not_lock_a_secret_up() {
        #[derive(Serialize, Deserialize)]
        struct Numbers {
            password: Secret<String>,
            numbers: Vec<f64>,
            whole: i64,
        }
        let task =
            Numbers { password: Secret::new("hunter2".to_owned()), numbers: vec![1e16, -0.0, 0.1, 1e300], whole: -7 };
        let mut stored = sealed(&task, &keyring(), "Numbers", OURS).expect("sealed");
        // As PostgreSQL's jsonb gives them back.
        stored["numbers"] = json!([10_000_000_000_000_000_u64, 0.0, 0.1, 1e300]);
        let open = |stored: &serde_json::Value| opened::<Numbers>(stored.clone(), Some(&keyring()), "Numbers", OURS).0;
        assert!(open(&stored).is_ok());
        stored["whole"] = json!(-8);
        assert!(open(&stored).is_err());
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
        let numbers = Hidden::new(vec!["4711".to_owned(), "1.25".to_owned()]);
        assert_eq!(
            numbers.json(json!({"pin": 4711, "other": 47110, "list": [-4711, 1.25]})),
            json!({"pin": "[redacted]", "other": 47110, "list": [-4711, "[redacted]"]})
        );
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

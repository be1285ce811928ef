//! What sealed parameters are bound to, and how they are found and opened.

use std::collections::HashMap;
use std::convert::Infallible;

use ring::digest::{SHA256, digest};
use serde_json::Value;
use uuid::Uuid;

use crate::Keyring;
use crate::keyring::NotOpened;
use crate::pointer::escape;

/// Whose parameters are sealed or opened: what they are sealed for opens nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    /// A task. Those of a schedule hold what was sealed for the schedule.
    Task {
        /// Its guid.
        id: Uuid,
        /// Who it is by, if that is known: `schedule:` and a name for a schedule's.
        created_by: Option<&'a str>,
    },
    /// The schedule of this name, and the tasks that it starts.
    Schedule(&'a str),
}

impl Holder<'_> {
    /// A task, however it is made.
    #[must_use]
    pub const fn task(id: Uuid) -> Self {
        Self::Task { id, created_by: None }
    }

    /// What texts that are sealed for it begin with, and what they are bound to.
    pub(crate) fn seals_as(self) -> (&'static str, String) {
        match self {
            Self::Task { id, .. } => (FOR_TASK, for_task(id)),
            Self::Schedule(name) => (FOR_SCHEDULE, for_schedule(name)),
        }
    }
}

/// The only member of a sealed secret's object.
pub(crate) const SEALED: &str = "$sealed";
/// What a sealed text begins with if it was sealed for a task …
const FOR_TASK: &str = "2t";
/// … or for a schedule.
const FOR_SCHEDULE: &str = "2s";

/// Whether any of these stored parameters was sealed for a schedule.
pub(crate) fn of_schedule(stored: &mut Value) -> bool {
    let mut found = false;
    let mut look = |_: &str, text: &mut String| {
        found |= text.split(':').next() == Some(FOR_SCHEDULE);
        Ok::<(), Infallible>(())
    };
    let Ok(()) = each_sealed(stored, &mut String::new(), &mut look);
    found
}

fn for_task(id: Uuid) -> String {
    format!("task:{id}")
}

fn for_schedule(name: &str) -> String {
    format!("schedule:{name}")
}

/// What a sealed secret opens with: the type, where it stands, as a JSON pointer, whose it
/// is, and what stands beside it: a password is not sent to another host than it was given
/// for. No part but the last has a NUL.
pub(crate) fn bound_to(type_name: &str, place: &str, holder: &str, beside: &[u8]) -> Vec<u8> {
    [type_name.as_bytes(), place.as_bytes(), holder.as_bytes(), beside].join(&0)
}

/// A digest of parameters without what is sealed in them. It is the same before they are
/// stored and when they are read again: of numbers, which the database writes in its own
/// way, only whole ones of 15 digits at most count.
pub(crate) fn beside(parameters: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    write_beside(parameters, &mut text);
    digest(&SHA256, &text).as_ref().to_vec()
}

fn write_beside(value: &Value, to: &mut Vec<u8>) {
    let text = |to: &mut Vec<u8>, text: &str| {
        to.extend_from_slice(format!("{}:", text.len()).as_bytes());
        to.extend_from_slice(text.as_bytes());
    };
    match value {
        Value::Object(members) if members.len() == 1 && members.get(SEALED).is_some_and(Value::is_string) => {
            to.push(b'$');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            to.push(b'{');
            for (name, value) in members {
                text(to, name);
                write_beside(value, to);
            }
            to.push(b'}');
        }
        Value::Array(items) => {
            to.push(b'[');
            items.iter().for_each(|item| write_beside(item, to));
            to.push(b']');
        }
        Value::String(string) => text(to, string),
        Value::Number(number) => match number.as_i64().filter(|number| number.unsigned_abs() < 1_000_000_000_000_000) {
            Some(whole) => to.extend_from_slice(format!("#{whole};").as_bytes()),
            None => to.push(b'#'),
        },
        Value::Bool(true) => to.push(b'+'),
        Value::Bool(false) => to.push(b'-'),
        Value::Null => to.push(b'0'),
    }
}

/// Calls for every `{"$sealed": text}` with its place.
pub(crate) fn each_sealed<E>(
    value: &mut Value,
    place: &mut String,
    call: &mut impl FnMut(&str, &mut String) -> Result<(), E>,
) -> Result<(), E> {
    let above = place.len();
    match value {
        Value::Object(members) => {
            let alone = members.len() == 1;
            for (name, value) in members {
                match value {
                    Value::String(text) if alone && name == SEALED => call(place, text)?,
                    _ => {
                        place.push('/');
                        place.push_str(&escape(name));
                        each_sealed(value, place, call)?;
                        place.truncate(above);
                    }
                }
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter_mut().enumerate() {
                place.push_str(&format!("/{number}"));
                each_sealed(item, place, call)?;
                place.truncate(above);
            }
        }
        _ => {}
    }
    Ok(())
}

fn holds_sealed(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            (members.len() == 1 && members.contains_key(SEALED)) || members.values().any(holds_sealed)
        }
        Value::Array(items) => items.iter().any(holds_sealed),
        _ => false,
    }
}

/// Opens what is sealed in the parameters of one task or schedule.
pub(crate) struct Opener {
    keyring: Option<Keyring>,
    type_name: &'static str,
    /// `None` if nothing is sealed, as in most tasks: there is no need to digest their parameters.
    sealed: Option<Sealed>,
}

struct Sealed {
    /// What was sealed for the task or for the schedule is bound to this.
    task: Option<String>,
    schedule: Option<String>,
    beside: Vec<u8>,
    /// Where each sealed text stands; `None` if in several places, of which it can have been
    /// sealed for one only.
    places: HashMap<String, Option<String>>,
}

impl Sealed {
    fn new(holder: Holder<'_>, stored: &mut Value) -> Self {
        let mut places = HashMap::new();
        let mut note = |place: &str, text: &mut String| {
            let place = Some(place.to_owned());
            places.entry(text.clone()).and_modify(|known| *known = None).or_insert(place);
            Ok::<(), Infallible>(())
        };
        let Ok(()) = each_sealed(stored, &mut String::new(), &mut note);
        let (task, schedule) = match holder {
            Holder::Task { id, created_by } => {
                let schedule = created_by.and_then(|by| by.strip_prefix("schedule:"));
                (Some(for_task(id)), schedule.map(for_schedule))
            }
            Holder::Schedule(name) => (None, Some(for_schedule(name))),
        };
        Self { task, schedule, beside: beside(stored), places }
    }

    fn place(&self, sealed: &str) -> Option<&str> {
        self.places.get(sealed)?.as_deref()
    }
}

impl Opener {
    pub(crate) fn new(
        keyring: Option<Keyring>,
        type_name: &'static str,
        holder: Holder<'_>,
        stored: &mut Value,
    ) -> Self {
        let sealed = holds_sealed(stored).then(|| Sealed::new(holder, stored));
        Self { keyring, type_name, sealed }
    }

    pub(crate) fn open(&self, value: Value) -> Result<Value, String> {
        let sealed = value.as_object().filter(|members| members.len() == 1).and_then(|members| members.get(SEALED));
        let Some(sealed) = sealed else { return Ok(value) };
        let sealed = sealed.as_str().unwrap_or_default();
        let keyring = self
            .keyring
            .as_ref()
            .ok_or("a secret can't be decrypted: this worker has no key; set LONGHAUL_SECRET_KEY")?;
        let (context, place) = self
            .sealed
            .as_ref()
            .and_then(|context| Some((context, context.place(sealed)?)))
            .ok_or("a secret can't be decrypted: its object has other members")?;
        let opened = match (sealed.split(':').next(), &context.task, &context.schedule) {
            (Some(form @ FOR_TASK), Some(holder), _) | (Some(form @ FOR_SCHEDULE), _, Some(holder)) => {
                keyring.open_as(form, &bound_to(self.type_name, place, holder, &context.beside), sealed)
            }
            _ => self.open_as_before(keyring, place, sealed),
        };
        let opened = opened.map_err(|error| format!("a secret can't be decrypted: {error}"))?;
        serde_json::from_slice(&opened).map_err(|_| "a secret can't be decrypted: it is not JSON".to_owned())
    }

    /// What earlier releases sealed: bound to type and place, or to the type alone.
    fn open_as_before(&self, keyring: &Keyring, place: &str, sealed: &str) -> Result<Vec<u8>, NotOpened> {
        let by_place = [self.type_name.as_bytes(), place.as_bytes()].join(&0);
        match keyring.open(&by_place, sealed) {
            Err(NotOpened::Spoiled) => keyring.open(self.type_name.as_bytes(), sealed),
            other => other,
        }
    }
}

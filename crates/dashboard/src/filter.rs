//! The filter of a list of tasks, as it stands in an address and in a form.

use actix_web::HttpRequest;
use actix_web::web::{self, Query};
use chrono::{DateTime, Duration, Utc};
use longhaul_api::access::permission::VIEW_TASKS;
use longhaul_api::percent_encoded;
use longhaul_api::{ApiError, Caller};
use longhaul_model::State;
use longhaul_model::store::find::TaskFilter;
use longhaul_model::store::list::ListFilter;
use longhaul_model::store::read::Sight;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::problem::WRONG_FIELD;

/// Fields of an address or a form, in their order.
pub(crate) type Fields = Vec<(String, String)>;

/// What a handler extracts of a form, readable or not.
pub(crate) type Form = Result<web::Form<Fields>, actix_web::Error>;

/// The fields of a form.
pub(crate) fn sent(form: Form) -> Result<Fields, ApiError> {
    form.map(web::Form::into_inner)
        .map_err(|error| ApiError::new(WRONG_FIELD, format!("The form can't be read: {error}.")))
}

/// The fields of an address.
pub(crate) fn fields(request: &HttpRequest) -> Result<Fields, ApiError> {
    Query::<Fields>::from_query(request.query_string())
        .map(Query::into_inner)
        .map_err(|error| ApiError::new(WRONG_FIELD, format!("The address can't be read: {error}.")))
}

/// The value of a field that is there and not empty.
pub(crate) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

/// How old tasks may be: name, words, and the bounds in hours.
pub(crate) const AGES: [(&str, &str, Option<i64>, Option<i64>); 5] = [
    ("hour", "last hour", Some(1), None),
    ("day", "last 24 hours", Some(24), None),
    ("week", "last 7 days", Some(168), None),
    ("old-day", "older than a day", None, Some(24)),
    ("old-week", "older than 7 days", None, Some(168)),
];

/// A filter as people choose it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) states: Vec<State>,
    pub(crate) type_name: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) age: Option<&'static str>,
    /// The `code` of the error.
    pub(crate) code: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) created_by: Option<String>,
    pub(crate) after: Option<Uuid>,
}

const LONGEST: usize = 200;

impl Chosen {
    /// Reads it; fields of other names are somebody else's.
    pub(crate) fn read(fields: &Fields) -> Result<Self, ApiError> {
        let mut chosen = Self::default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            if value.contains('\0') || value.chars().count() > LONGEST {
                return Err(ApiError::new(WRONG_FIELD, format!("A filter may have at most {LONGEST} characters.")));
            }
            match name.as_str() {
                "state" => {
                    let state = value.parse().map_err(|error| ApiError::new(WRONG_FIELD, format!("{error}.")))?;
                    if !chosen.states.contains(&state) {
                        chosen.states.push(state);
                    }
                }
                "type" => chosen.type_name = Some(value.clone()),
                "queue" => chosen.queue = Some(value.clone()),
                "code" => chosen.code = Some(value.clone()),
                "tag" => chosen.tag = Some(value.clone()),
                "text" => chosen.text = Some(value.clone()),
                "by" => chosen.created_by = Some(value.clone()),
                "age" => {
                    let known = AGES.iter().find(|(known, ..)| known == value);
                    chosen.age = Some(known.ok_or_else(|| ApiError::new(WRONG_FIELD, "There is no such age."))?.0);
                }
                "after" => {
                    let id = value.parse().map_err(|_| ApiError::new(WRONG_FIELD, "'after' must be an id."))?;
                    chosen.after = Some(id);
                }
                _ => {}
            }
        }
        Ok(chosen)
    }

    /// Whether it leaves every task.
    pub(crate) fn is_everything(&self) -> bool {
        *self == Self { after: self.after, ..Self::default() }
    }

    fn bounds(&self, now: DateTime<Utc>) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let found = AGES.iter().find(|(name, ..)| Some(*name) == self.age);
        let back = |hours: i64| now - Duration::hours(hours);
        found.map_or((None, None), |(.., from, to)| (from.map(back), to.map(back)))
    }

    /// As the store takes it.
    pub(crate) fn to_store(&self, now: DateTime<Utc>) -> ListFilter {
        let (accepted_after, accepted_before) = self.bounds(now);
        ListFilter {
            tasks: TaskFilter {
                types: self.type_name.iter().cloned().collect(),
                states: self.states.clone(),
                queue: self.queue.clone(),
                key: None,
                created_by: self.created_by.clone(),
                accepted_after,
                accepted_before,
                error_code: self.code.clone(),
                tag: self.tag.clone(),
            },
            text: self.text.clone(),
        }
    }

    /// The same, of what someone may see; `None` if that is nothing, whatever there is.
    pub(crate) fn seen_by(&self, caller: &Caller, now: DateTime<Utc>) -> Option<ListFilter> {
        let mut filter = self.to_store(now);
        if let Sight::Own(own) = caller.sight(&[VIEW_TASKS]) {
            match &filter.tasks.created_by {
                Some(other) if other != own => return None,
                _ => filter.tasks.created_by = Some(own.to_owned()),
            }
        }
        Some(filter)
    }

    /// The same of those that can be cancelled (`open`) or run again; `None` if the states
    /// that are chosen have none of those.
    pub(crate) fn changed_by(&self, open: bool) -> Option<Self> {
        let may =
            |state: &State| if open { !state.is_end() } else { matches!(state, State::Failed | State::Cancelled) };
        let states: Vec<State> = if self.states.is_empty() {
            State::ALL.into_iter().filter(may).collect()
        } else {
            self.states.iter().copied().filter(may).collect()
        };
        Some(Self { states, ..self.clone() }).filter(|changed| !changed.states.is_empty())
    }

    /// The parameters of a CancelTasks (`open`) or RetryTasks task of what fits; `None`
    /// if the states that are chosen have none of those.
    pub(crate) fn parameters(&self, now: DateTime<Utc>, open: bool) -> Option<Value> {
        let mut parameters = Map::new();
        parameters.insert("States".to_owned(), json!(self.changed_by(open)?.states));
        let (after, before) = self.bounds(now);
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                parameters.insert(name.to_owned(), value);
            }
        };
        put("Types", self.type_name.as_ref().map(|name| json!([name])));
        put("Queue", self.queue.as_ref().map(|queue| json!(queue)));
        put("ErrorCode", self.code.as_ref().map(|code| json!(code)));
        put("Tag", self.tag.as_ref().map(|tag| json!(tag)));
        put("CreatedBy", self.created_by.as_ref().map(|by| json!(by)));
        put("AcceptedAfter", after.map(|at| json!(at)));
        put("AcceptedBefore", before.map(|at| json!(at)));
        Some(Value::Object(parameters))
    }

    /// Its fields, without where the page begins.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields: Vec<(&'static str, String)> =
            self.states.iter().map(|state| ("state", state.name().to_owned())).collect();
        let rest = [
            ("type", self.type_name.clone()),
            ("queue", self.queue.clone()),
            ("age", self.age.map(str::to_owned)),
            ("code", self.code.clone()),
            ("tag", self.tag.clone()),
            ("text", self.text.clone()),
            ("by", self.created_by.clone()),
        ];
        fields.extend(rest.into_iter().filter_map(|(name, value)| Some((name, value?))));
        fields
    }

    /// The address of what fits, at `path`, from `after` on.
    pub(crate) fn address(&self, path: &str, after: Option<Uuid>) -> String {
        let mut parts: Vec<String> =
            self.fields().into_iter().map(|(name, value)| format!("{name}={}", percent_encoded(&value))).collect();
        parts.extend(after.map(|after| format!("after={after}")));
        if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use longhaul_model::State;
    use serde_json::json;

    use super::Chosen;

    fn chosen(fields: &[(&str, &str)]) -> Chosen {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Chosen::read(&fields).expect("a filter")
    }

    #[test]
    fn what_is_read_is_written_again() {
        let read = chosen(&[("state", "Failed"), ("state", "Failed"), ("type", "A&B"), ("text", ""), ("age", "day")]);
        assert_eq!(read.states, [State::Failed]);
        assert_eq!(read.address("/tasks", None), "/tasks?state=Failed&type=A%26B&age=day");
        assert!(chosen(&[("after", "7bdba522-590a-4df4-b409-a2939851241b")]).is_everything());
    }

    #[test]
    fn only_states_that_can_be_cancelled_or_retried_are_asked_for() {
        let now = DateTime::UNIX_EPOCH;
        let read = chosen(&[("state", "Failed"), ("state", "Running"), ("queue", "q"), ("tag", "t")]);
        assert_eq!(read.parameters(now, true), Some(json!({"States": ["Running"], "Queue": "q", "Tag": "t"})));
        assert_eq!(read.parameters(now, false), Some(json!({"States": ["Failed"], "Queue": "q", "Tag": "t"})));
        assert_eq!(chosen(&[("state", "Succeeded")]).parameters(now, true), None);
    }
}

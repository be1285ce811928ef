//! The content of a row, as far as it can be read.
//!
//! A row may hold what this program can't represent: JSON nested deeper than readers of
//! JSON go, numbers beyond a double, times beyond a calendar. It came from SQL, from
//! another program, or from an older release. Such a value must cost neither its
//! neighbours nor the page that shows it, so columns that may hold one are decoded by the
//! types here, which never fail.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type};

use crate::StepState;
use crate::limits::is_too_deep;

/// A `jsonb` for whoever works with it: the value, or why it can't be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredJson(pub(super) Result<Value, String>);

/// A `jsonb` for people: what can't be shown is a text that says so.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownJson(pub Value);

/// The same of a column that may be NULL.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShownOption(Option<Value>);

/// A `timestamptz`, pulled into the years 1 to 9999, which every reader of times knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredTime(pub(super) DateTime<Utc>);

/// The same of a column that may be NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredTimeOption(Option<DateTime<Utc>>);

/// A `text[]`, without elements that are NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTexts(Vec<String>);

/// The same of a column that may be NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTextsOption(Option<Vec<String>>);

impl From<StoredTime> for DateTime<Utc> {
    fn from(stored: StoredTime) -> Self {
        stored.0
    }
}

impl From<StoredTimeOption> for Option<DateTime<Utc>> {
    fn from(stored: StoredTimeOption) -> Self {
        stored.0
    }
}

impl From<StoredTexts> for Vec<String> {
    fn from(stored: StoredTexts) -> Self {
        stored.0
    }
}

impl From<StoredTextsOption> for Option<Vec<String>> {
    fn from(stored: StoredTextsOption) -> Self {
        stored.0
    }
}

impl From<ShownJson> for Value {
    fn from(shown: ShownJson) -> Self {
        shown.0
    }
}

impl From<ShownOption> for Option<Value> {
    fn from(shown: ShownOption) -> Self {
        shown.0
    }
}

impl ShownJson {
    /// The same of a column of steps, whose readers expect a list of [`StepState`].
    pub(super) fn into_steps(self) -> Value {
        if Vec::<StepState>::deserialize(&self.0).is_ok() {
            return self.0;
        }
        let name = self.0.as_str().unwrap_or("[steps that can't be shown]");
        json!([{"Name": name, "Weight": 0, "Of": 0, "Fraction": 0.0, "TotalElements": 0, "ProcessedElements": 0}])
    }

    /// The same of an error column, whose readers expect a problem object.
    pub(super) fn into_problem(self) -> Value {
        match self.0 {
            problem @ Value::Object(_) => problem,
            odd => json!({
                "type": "urn:longhaul:problem:not-storable", "title": "The stored error can't be shown", "status": 500,
                "code": "not-storable", "detail": odd.as_str().map_or_else(|| odd.to_string(), str::to_owned),
            }),
        }
    }
}

impl Type<Postgres> for StoredJson {
    fn type_info() -> PgTypeInfo {
        <Value as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <Value as Type<Postgres>>::compatible(info)
    }
}

impl<'r> Decode<'r, Postgres> for StoredJson {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(<Value as Decode<Postgres>>::decode(value).map_err(|error| error.to_string())))
    }
}

impl Type<Postgres> for ShownJson {
    fn type_info() -> PgTypeInfo {
        <StoredJson as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <StoredJson as Type<Postgres>>::compatible(info)
    }
}

impl<'r> Decode<'r, Postgres> for ShownJson {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes = value.as_bytes().map_or(0, <[u8]>::len);
        let readable = match StoredJson::decode(value)?.0 {
            // It is shown inside other JSON, which must be readable, too.
            Ok(value) if is_too_deep(&value) => Err("it is nested too deeply".to_owned()),
            readable => readable,
        };
        Ok(Self(readable.unwrap_or_else(|why| Value::String(format!("[{bytes} bytes that can't be shown: {why}]")))))
    }
}

impl Type<Postgres> for ShownOption {
    fn type_info() -> PgTypeInfo {
        <StoredJson as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <StoredJson as Type<Postgres>>::compatible(info)
    }
}

impl<'r> Decode<'r, Postgres> for ShownOption {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(Option::<ShownJson>::decode(value)?.map(Value::from)))
    }
}

impl Type<Postgres> for StoredTime {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <DateTime<Utc> as Type<Postgres>>::compatible(info)
    }
}

impl<'r> Decode<'r, Postgres> for StoredTime {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Ok(Self(<DateTime<Utc> as Decode<Postgres>>::decode(value)?));
        }
        // Microseconds since 2000-01-01; the extremes stand for infinity.
        let micros = <i64 as Decode<Postgres>>::decode(value)?;
        Ok(Self(time_after(micros)))
    }
}

impl Type<Postgres> for StoredTimeOption {
    fn type_info() -> PgTypeInfo {
        <StoredTime as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <StoredTime as Type<Postgres>>::compatible(info)
    }
}

impl<'r> Decode<'r, Postgres> for StoredTimeOption {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(Option::<StoredTime>::decode(value)?.map(DateTime::from)))
    }
}

impl Type<Postgres> for StoredTexts {
    fn type_info() -> PgTypeInfo {
        <Vec<String> as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <Vec<String> as Type<Postgres>>::compatible(info)
    }
}

impl<'r> Decode<'r, Postgres> for StoredTexts {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(Vec::<Option<String>>::decode(value)?.into_iter().flatten().collect()))
    }
}

impl Type<Postgres> for StoredTextsOption {
    fn type_info() -> PgTypeInfo {
        <StoredTexts as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <StoredTexts as Type<Postgres>>::compatible(info)
    }
}

impl<'r> Decode<'r, Postgres> for StoredTextsOption {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(Option::<StoredTexts>::decode(value)?.map(Vec::from)))
    }
}

/// The time so many microseconds after the beginning of 2000.
fn time_after(micros: i64) -> DateTime<Utc> {
    // In seconds since 1970: 0001-01-01, 2000-01-01, 9999-12-31T23:59:59.
    const FIRST: i64 = -62_135_596_800;
    const EPOCH: i64 = 946_684_800;
    const LAST: i64 = 253_402_300_799;
    let micros = micros.clamp((FIRST - EPOCH) * 1_000_000, (LAST - EPOCH) * 1_000_000);
    DateTime::from_timestamp_micros(EPOCH * 1_000_000 + micros).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ShownJson, time_after};

    #[test]
    fn times_out_of_range_are_its_ends() {
        assert_eq!(time_after(i64::MAX).to_rfc3339(), "9999-12-31T23:59:59+00:00");
        assert_eq!(time_after(i64::MIN).to_rfc3339(), "0001-01-01T00:00:00+00:00");
        assert_eq!(time_after(1_000_000).to_rfc3339(), "2000-01-01T00:00:01+00:00");
    }

    #[test]
    fn an_error_that_is_no_object_is_shown_as_one() {
        assert_eq!(ShownJson(json!("odd")).into_problem()["detail"], "odd");
        assert_eq!(ShownJson(json!({"code": "x"})).into_problem(), json!({"code": "x"}));
    }
}

//! `PATCH /api/queues/{name}`: pauses or resumes a queue, changes its limits.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::queue::{QueueSettings, set};
use longhaul_model::{ParameterError, escape};
use schemars::JsonSchema;
use serde_json::Value;

use super::queues::{QueueBody, find, one};
use crate::access::permission::EDIT_QUEUES;
use crate::error::UNKNOWN_QUEUE;
use crate::negotiation::read_json;
use crate::openapi::text;
use crate::{Access, ApiError, App, Caller, Operation};

/// What to change of a queue; members that are left out stay as they are.
#[derive(JsonSchema)]
#[schemars(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(dead_code, reason = "it says the form; `change` reads member by member, since null and absent differ")]
struct QueueChange {
    /// Its tasks wait.
    #[schemars(extend("type" = "boolean"))]
    paused: Option<bool>,
    /// Tasks at once over the whole fleet; null for no limit.
    #[schemars(range(min = 0))]
    max_running: Option<i32>,
    /// The same for each key.
    #[schemars(range(min = 0))]
    max_per_key: Option<i32>,
    /// Keys take turns.
    #[schemars(extend("type" = "boolean"))]
    fair: Option<bool>,
    /// Tasks that may begin in `RateSeconds`; both or none are set.
    #[schemars(range(min = 1))]
    rate_count: Option<i32>,
    /// Above 0.
    rate_seconds: Option<f64>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Queues", "changeQueue", "Pauses or resumes a queue, changes its limits.")
        .notes_itself()
        .needs(Access::Permission(EDIT_QUEUES))
        .description("Effective at once, over the whole fleet. Members that are left out stay as they are; null takes a limit away.")
        .path("name", "The queue's name.", text())
        .reads::<QueueChange>()
        .negotiated()
        .answers::<QueueBody>(200, "The queue as it is then.")
        .problem(UNKNOWN_QUEUE)
}

/// `200` with the queue as it is then. Members that are left out stay as they are;
/// null takes a limit away. Effective at once, over the whole fleet.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let json = read_json(&app, &request, body)?;
    let mut settings = find(&app, &name).await?.settings();
    let errors = change(&mut settings, &json);
    if !errors.is_empty() {
        return Err(ApiError::invalid_request(errors));
    }
    let mut transaction = app.pool().begin().await?;
    set(&mut *transaction, &name, &settings).await?;
    caller.note(&mut transaction, "changeQueue", &name, Some(json)).await?;
    transaction.commit().await?;
    one(app, name).await
}

/// Applies the members; returns everything that is wrong with them.
fn change(settings: &mut QueueSettings, json: &Value) -> Vec<ParameterError> {
    let complaint =
        |pointer: &str, message: &str| ParameterError { pointer: pointer.to_owned(), message: message.to_owned() };
    let Value::Object(members) = json else { return vec![complaint("", "An object is expected.")] };
    let mut errors = Vec::new();
    let mut rate = settings.rate.map(|(count, seconds)| (Some(count), Some(seconds))).unwrap_or_default();
    for (name, value) in members {
        let pointer = format!("/{}", escape(name));
        let mut number = |least: i64| match value {
            Value::Null => None,
            _ => {
                value.as_i64().filter(|number| *number >= least).and_then(|number| i32::try_from(number).ok()).or_else(
                    || {
                        errors.push(complaint(
                            &pointer,
                            &format!("A whole number from {least} on, or null for none, is expected."),
                        ));
                        None
                    },
                )
            }
        };
        match name.as_str() {
            "MaxRunning" => settings.max_running = number(0),
            "MaxPerKey" => settings.max_per_key = number(0),
            "RateCount" => rate.0 = number(1),
            "RateSeconds" => match value {
                Value::Null => rate.1 = None,
                _ => match value.as_f64().filter(|seconds| (0.001..=86_400.0 * 366.0).contains(seconds)) {
                    Some(seconds) => rate.1 = Some(seconds),
                    None => errors.push(complaint(&pointer, "A number of seconds above 0, or null, is expected.")),
                },
            },
            "Paused" | "Fair" => match (name.as_str(), value.as_bool()) {
                ("Paused", Some(paused)) => settings.paused = paused,
                (_, Some(fair)) => settings.fair = fair,
                (_, None) => errors.push(complaint(&pointer, "true or false is expected.")),
            },
            _ => errors.push(complaint(
                &pointer,
                "Unknown member; the known ones are Paused, MaxRunning, MaxPerKey, Fair, RateCount, RateSeconds.",
            )),
        }
    }
    match rate {
        (Some(count), Some(seconds)) => settings.rate = Some((count, seconds)),
        (None, None) => settings.rate = None,
        _ => errors.push(complaint("/RateCount", "RateCount and RateSeconds go together: set both, or null both.")),
    }
    errors
}

//! The examples of the original's documentation, word by word (`examples.txt`): the body of
//! each request, the headers and the body of its answer, and its status.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Stage;

/// A request and its answer, as the original's documentation shows them.
#[derive(Debug, Clone)]
pub struct Example {
    request: &'static str,
    /// Names and values.
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    status: u16,
}

/// Where the original runs in its examples.
const BASE_URL: &str = "http://localhost";

impl Example {
    /// Every example, in the order of the documentation.
    pub fn all() -> Vec<Self> {
        include_str!("examples.txt").split("Request Body\n").skip(1).map(Self::read).collect()
    }

    /// The example with this number of those of a task type, counted from 0.
    pub fn of(type_name: &str, number: usize) -> Self {
        let named = format!("{{ \"Type\": \"{type_name}\", ");
        let found = Self::all().into_iter().filter(|example| example.request.starts_with(&named)).nth(number);
        found.unwrap_or_else(|| panic!("there is no example {number} of {type_name}"))
    }

    fn read(text: &'static str) -> Self {
        let (request, rest) = text.split_once("\nResponse Headers\n").expect("headers after the request");
        let (headers, rest) = rest.split_once("\nResponse Body\n").expect("a body after the headers");
        let (body, status) = rest.split_once("\nStatus Code\n").expect("a status after the body");
        // A row is | name | value | description |; the first two are the table's head.
        let cells = headers.lines().skip(2).map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let headers = cells.map(|cells| (cells[0], cells[1])).collect();
        let (status, _name) = status.split_once(' ').expect("a status and its name");
        Self { request, headers, body, status: status.parse().expect("a number") }
    }

    /// The body of the request.
    pub fn request(&self) -> Value {
        serde_json::from_str(self.request).expect("JSON")
    }

    /// POSTs the request as it is written, and compares the whole answer with the written
    /// one. Only the server's address, the guid and the time are this call's. Returns the body.
    pub async fn assert_answered(&self, stage: &Stage) -> Value {
        let request = stage
            .http
            .post(format!("{}/api/backgroundtasks", stage.base_url))
            .header("Accept", "application/json")
            .header("Content-type", "application/json")
            .body(self.request);
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(status, self.status, "{} was answered by {body}", self.request);
        self.assert_same(&stage.base_url, &headers, &body);
        body
    }

    fn assert_same(&self, base_url: &str, headers: &HeaderMap, body: &Value) {
        let written: Value = serde_json::from_str(self.body).expect("JSON");
        let guid = |body: &Value| {
            let id = body["Id"].as_str().expect("an id");
            id[id.len() - 36..].to_owned()
        };
        let (written_guid, own_guid) = (guid(&written), guid(body));
        assert_eq!(Uuid::try_parse(&own_guid).expect("a guid").to_string(), own_guid, "lower case, with hyphens");
        let own = |text: &str| text.replace(BASE_URL, base_url).replace(&written_guid, &own_guid);

        assert!(self.headers.len() >= 2, "Content-Type and Location: {self:?}");
        for (name, value) in &self.headers {
            let sent = headers.get(*name).unwrap_or_else(|| panic!("there is no {name}"));
            assert_eq!(sent.to_str().expect("text"), own(value), "{name} of {}", self.request);
        }
        let mut expected: Value = serde_json::from_str(&own(self.body)).expect("JSON");
        let started_at = body["StartedAt"].as_str().expect("a time");
        longhaul_model::chrono::NaiveDateTime::parse_from_str(started_at, "%Y-%m-%dT%H:%M:%SZ")
            .expect("UTC in whole seconds");
        expected["StartedAt"] = json!(started_at);
        let members = expected.as_object().expect("an object");
        assert_eq!(members.len(), 8, "the members that are always there");
        for (name, value) in members {
            assert_eq!(&body[name], value, "{name} of the answer to {}", self.request);
        }
    }
}

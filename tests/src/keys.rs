//! API keys for tests.

use longhaul_api::Authenticators;
use longhaul_api::access::Keys;
use longhaul_api::access::secret::{Hasher, Secret};
use longhaul_model::store::api_key::{self, NewApiKey};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::Stage;

/// What tests' servers hash keys with.
pub const SERVER_SECRET: &str = "a secret of servers, which only tests know";

/// Callers say who they are by API keys, and in no other way.
pub fn keys_only(pool: &PgPool) -> Authenticators {
    Authenticators::default().with(Keys::new(pool.clone(), Some(SERVER_SECRET)))
}

/// Makes a key for a caller of this name with these permissions, hashed with the tests'
/// secret or another.
pub async fn make_key(
    pool: &PgPool,
    name: &str,
    permissions: &[&str],
    projects: Option<&[Uuid]>,
    server_secret: Option<&str>,
) -> Secret {
    let (secret, hasher) = (Secret::generate().expect("randomness"), Hasher::new(server_secret));
    let permissions: Vec<String> = permissions.iter().map(|name| (*name).to_owned()).collect();
    let key = NewApiKey {
        prefix: secret.prefix(),
        name,
        hash: &hasher.hash(&secret),
        hashed_with: hasher.id(),
        permissions: &permissions,
        projects,
        expires_at: None,
        created_by: None,
        again: true,
    };
    assert!(api_key::create(pool, &key).await.expect("stored"));
    secret
}

/// Someone with a key.
pub struct Someone<'a> {
    stage: &'a Stage,
    key: String,
}

impl Stage {
    /// Someone with a new key and these permissions.
    pub async fn someone(&self, name: &str, permissions: &[&str]) -> Someone<'_> {
        self.someone_in(name, permissions, None).await
    }

    /// The same with permissions for these projects only.
    pub async fn someone_in(&self, name: &str, permissions: &[&str], projects: Option<&[Uuid]>) -> Someone<'_> {
        let secret = make_key(&self.pool, name, permissions, projects, Some(SERVER_SECRET)).await;
        Someone { stage: self, key: secret.expose().to_owned() }
    }
}

impl Someone<'_> {
    /// A request with the key.
    pub fn request(&self, method: &str, path: &str) -> reqwest_middleware::RequestBuilder {
        let method = method.parse().expect("a method");
        self.stage.http.request(method, format!("{}{path}", self.stage.base_url)).bearer_auth(&self.key)
    }

    /// Sends a request; returns status and body, null if there is none.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Starts a task.
    pub async fn start(&self, request: &Value) -> (u16, Value) {
        self.ask("POST", "/api/backgroundtasks", Some(request)).await
    }

    /// Starts a task that must be accepted; returns the path of its address.
    pub async fn started(&self, request: &Value) -> String {
        let (status, body) = self.start(request).await;
        assert_eq!(status, 202, "{body}");
        format!("/api/backgroundtask/{}", body["Id"].as_str().expect("an id"))
    }
}

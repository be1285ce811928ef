//! The provider's process.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running provider.
pub(crate) struct Provider {
    child: Child,
    pub(crate) port: u16,
}

fn node() -> Command {
    Command::new(std::env::var("LONGHAUL_NODE").expect("tests/oidc/run sets LONGHAUL_NODE"))
}

fn script() -> String {
    std::env::var("LONGHAUL_OIDC_PROVIDER").expect("tests/oidc/run sets LONGHAUL_OIDC_PROVIDER")
}

/// What Node's own cryptography makes of a script that prints JSON or text.
async fn evaluate(script: &str, arguments: &[&str]) -> String {
    let output = node().arg("-e").arg(script).args(arguments).output().await.expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A new private key for this algorithm, as a set of JWKs.
pub(crate) async fn keys(algorithm: &str, id: &str) -> Value {
    let script = "
        const [algorithm, kid] = process.argv.slice(1);
        const { generateKeyPairSync } = require('node:crypto');
        const kind = { R: 'rsa', P: 'rsa', E: 'ec' }[algorithm[0]];
        const curve = { ES256: 'P-256', ES384: 'P-384' }[algorithm];
        const type = algorithm === 'EdDSA' ? 'ed25519' : kind;
        const { privateKey } = generateKeyPairSync(type, { modulusLength: 2048, namedCurve: curve });
        const key = { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: algorithm };
        console.log(JSON.stringify({ keys: [key] }));";
    serde_json::from_str(&evaluate(script, &[algorithm, id]).await).expect("JSON")
}

impl Provider {
    pub(crate) async fn start(settings: &Value) -> Self {
        let mut child = node()
            .arg(script())
            .arg(settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let output = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(output).lines();
        let line = lines.next_line().await.expect("it prints").expect("its port");
        // It must be able to go on printing.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, port: line.parse().expect("a port") }
    }

    /// Ends it, so that its port is free.
    pub(crate) async fn stop(&mut self) {
        self.child.kill().await.expect("it ends");
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An access token for a machine.
    pub(crate) async fn token(&self, scope: &str, audience: &str) -> String {
        let form = format!("grant_type=client_credentials&scope={scope}&resource={audience}");
        let response = longhaul_tests::http_client()
            .build()
            .expect("a client")
            .post(format!("{}/token", self.issuer()))
            .basic_auth("machine", Some("of%20the%20machine"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .expect("the provider answers");
        let body: Value = response.json().await.expect("JSON");
        body["access_token"].as_str().unwrap_or_else(|| panic!("no token: {body}")).to_owned()
    }

    /// Its public key as everyone can write it.
    pub(crate) async fn public_key_pem(&self) -> String {
        let set = longhaul_tests::http_client()
            .build()
            .expect("a client")
            .get(format!("{}/jwks", self.issuer()))
            .send()
            .await
            .expect("the provider answers");
        let set: Value = set.json().await.expect("JSON");
        let script = "
            const { createPublicKey } = require('node:crypto');
            const key = createPublicKey({ key: JSON.parse(process.argv[1]), format: 'jwk' });
            process.stdout.write(key.export({ type: 'spki', format: 'pem' }));";
        evaluate(script, &[&set["keys"][0].to_string()]).await
    }
}

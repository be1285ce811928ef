//! An issuer: its two documents over HTTP, and a pen to sign tokens with.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use longhaul_api::oauth::{ALGORITHMS, OauthSettings, Patience, ResourceServer, Rules};
use serde_json::{Value, json};
use std::time::Duration;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// The audience of good tokens.
pub(crate) const AUDIENCE: &str = "https://longhaul.example";
/// What the tests call now.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A private key.
pub(crate) enum Pen {
    Rsa(Box<signature::RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Pen {
    pub(crate) fn rsa() -> Self {
        let der = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key").as_der().expect("DER").as_ref().to_vec();
        Self::Rsa(Box::new(signature::RsaKeyPair::from_pkcs8(&der).expect("a key")))
    }

    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    pub(crate) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"))
    }

    pub(crate) fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().expect("a key"))
    }

    /// The public key as a JWK.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let point = |key: &EcdsaKeyPair, curve: &str, size: usize| {
            let bytes = &key.public_key().as_ref()[1..];
            json!({"kty": "EC", "crv": curve, "x": encode(&bytes[..size]), "y": encode(&bytes[size..])})
        };
        let mut jwk = match self {
            Self::Rsa(key) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "n": encode(parts.n), "e": encode(parts.e)})
            }
            Self::P256(key) => point(key, "P-256", 32),
            Self::P384(key) => point(key, "P-384", 48),
            Self::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())}),
        };
        jwk["kid"] = id.into();
        jwk["use"] = "sig".into();
        jwk
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let padding = if algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding as &'static dyn signature::RsaEncoding, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Self::P256(key) | Self::P384(key) => key.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of this header and these claims.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.sign(header["alg"].as_str().expect("alg"), message.as_bytes());
        format!("{message}.{}", encode(signature))
    }
}

/// A token whose signature is made with a secret that everyone knows.
pub(crate) fn symmetric(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("{message}.{}", encode(hmac::sign(&key, message.as_bytes())))
}

/// An issuer that answers over HTTP.
pub(crate) struct Issuer {
    pub(crate) server: MockServer,
    pub(crate) name: String,
}

impl Issuer {
    pub(crate) async fn of(keys: &[Value]) -> Self {
        let issuer = Self::silent().await;
        issuer.answers(keys).await;
        issuer
    }

    /// It is there, and knows no address.
    pub(crate) async fn silent() -> Self {
        let server = MockServer::start().await;
        let name = server.uri();
        Self { server, name }
    }

    /// From now on it has these keys.
    pub(crate) async fn answers(&self, keys: &[Value]) {
        self.server.reset().await;
        self.answers_as(&self.name, keys).await;
    }

    /// It says that it is another issuer.
    pub(crate) async fn answers_as(&self, name: &str, keys: &[Value]) {
        let document = json!({"issuer": name, "jwks_uri": format!("{}/keys", self.name),
                              "authorization_endpoint": format!("{}/authorize", self.name),
                              "token_endpoint": format!("{}/token", self.name)});
        self.serves("/.well-known/openid-configuration", ResponseTemplate::new(200).set_body_json(document)).await;
        self.serves("/keys", ResponseTemplate::new(200).set_body_json(json!({"keys": keys}))).await;
    }

    pub(crate) async fn serves(&self, address: &str, answer: ResponseTemplate) {
        Mock::given(path(address)).respond_with(answer).mount(&self.server).await;
    }

    /// From now on it answers nothing but 503.
    pub(crate) async fn fails(&self) {
        self.server.reset().await;
        Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(503)).mount(&self.server).await;
    }

    /// How often its keys were asked for since its answers last changed.
    pub(crate) async fn asked(&self) -> usize {
        let requests = self.server.received_requests().await.expect("they are recorded");
        requests.iter().filter(|request| request.url.path() == "/keys").count()
    }

    pub(crate) fn settings(&self) -> OauthSettings {
        OauthSettings {
            issuer: self.name.clone(),
            audiences: vec![AUDIENCE.to_owned()],
            algorithms: ALGORITHMS.to_vec(),
            clock_skew: Duration::from_secs(30),
            typed: true,
            rules: Rules {
                rules: vec!["scope:tasks=Administration/Tasks/View".parse().expect("a rule")],
                permissions_claim: None,
            },
            patience: Patience { ask_every: Duration::ZERO, ..Patience::default() },
        }
    }

    pub(crate) fn resource_server(&self) -> ResourceServer {
        ResourceServer::new(self.settings()).expect("a resource server")
    }

    /// The claims of a good token.
    pub(crate) fn claims(&self) -> Value {
        json!({"iss": self.name, "aud": AUDIENCE, "sub": "4711", "exp": NOW + 60, "iat": NOW, "jti": "1",
               "client_id": "c", "scope": "openid tasks"})
    }
}

pub(crate) fn header(algorithm: &str, key: &str) -> Value {
    json!({"alg": algorithm, "kid": key, "typ": "at+jwt"})
}

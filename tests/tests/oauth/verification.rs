//! What is taken and what is refused.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use longhaul_api::oauth::{Algorithm, OauthSettings, Refusal, ResourceServer, SettingsError};
use serde_json::{Value, json};
use std::time::Duration;

use super::issuer::{Issuer, NOW, Pen, encode, header, symmetric};

fn with(mut value: Value, changes: Value) -> Value {
    for (name, change) in changes.as_object().expect("an object") {
        match change {
            Value::Null => drop(value.as_object_mut().expect("an object").remove(name)),
            change => value[name] = change.clone(),
        }
    }
    value
}

#[tokio::test]
async fn tokens_of_every_taken_algorithm_are_taken() {
    let (rsa, p256, p384, ed) = (Pen::rsa(), Pen::p256(), Pen::p384(), Pen::ed());
    let issuer = Issuer::of(&[rsa.jwk("r"), p256.jwk("a"), p384.jwk("b"), ed.jwk("e")]).await;
    let server = issuer.resource_server();
    for (pen, algorithm, key) in
        [(&rsa, "RS256", "r"), (&rsa, "PS256", "r"), (&p256, "ES256", "a"), (&p384, "ES384", "b"), (&ed, "EdDSA", "e")]
    {
        let bearer = server.check(&pen.token(&header(algorithm, key), &issuer.claims()), NOW).await.expect(algorithm);
        assert_eq!((bearer.subject.as_str(), bearer.expires_at), ("4711", NOW + 60));
        let permissions: Vec<String> = bearer.permissions.iter().map(ToString::to_string).collect();
        assert_eq!(permissions, ["Administration/Tasks/View"]);
    }
    assert_eq!(issuer.asked().await, 1, "the keys are kept");
}

/// RFC 7518, 6.3.1.1 knows of issuers that do that.
#[tokio::test]
async fn a_modulus_may_have_a_zero_before_it() {
    let pen = Pen::rsa();
    let mut jwk = pen.jwk("r");
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(jwk["n"].as_str().expect("n")).expect("base64");
    jwk["n"] = encode([&[0], modulus.as_slice()].concat()).into();
    let issuer = Issuer::of(&[jwk]).await;
    let server = issuer.resource_server();
    for algorithm in ["RS256", "PS256"] {
        server.check(&pen.token(&header(algorithm, "r"), &issuer.claims()), NOW).await.expect(algorithm);
    }
}

#[tokio::test]
async fn claims_that_are_wrong_are_refused_with_the_reason() {
    let pen = Pen::p256();
    let issuer = Issuer::of(&[pen.jwk("k")]).await;
    let server = issuer.resource_server();
    let cases = [
        (json!({"exp": NOW - 31}), "The token has expired."),
        (json!({"exp": null}), "The token has no usable exp."),
        (json!({"exp": "tomorrow"}), "The token has no usable exp."),
        (json!({"nbf": NOW + 31}), "The token is not valid yet."),
        (json!({"nbf": "today"}), "The token is not valid yet."),
        (json!({"aud": "https://other.example"}), "The token is for another audience."),
        (json!({"aud": null}), "The token has no usable aud."),
        (json!({"aud": []}), "The token is for another audience."),
        (json!({"iss": "https://other.example"}), "The token comes from another issuer."),
        (json!({"iss": format!("{}/", issuer.name)}), "The token comes from another issuer."),
        (json!({"iss": null}), "The token has no usable iss."),
        (json!({"sub": null}), "The token has no usable sub."),
        (json!({"sub": ""}), "The token has no sub of 1 to 255 bytes."),
    ];
    for (changes, reason) in cases {
        let token = pen.token(&header("ES256", "k"), &with(issuer.claims(), changes.clone()));
        assert_eq!(server.check(&token, NOW).await, Err(Refusal::Invalid(reason.to_owned())), "{changes}");
    }
    for changes in [
        json!({"exp": NOW - 29}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"nbf": NOW + 29}),
        json!({"aud": ["https://other.example", "https://longhaul.example"]}),
    ] {
        let token = pen.token(&header("ES256", "k"), &with(issuer.claims(), changes.clone()));
        server.check(&token, NOW).await.unwrap_or_else(|refusal| panic!("{changes}: {refusal}"));
    }
}

#[tokio::test]
async fn headers_that_are_wrong_are_refused() {
    let pen = Pen::p256();
    let issuer = Issuer::of(&[pen.jwk("k")]).await;
    let server = issuer.resource_server();
    let typ = "The token is not an access token: its typ is not at+jwt.";
    let cases = [
        (json!({"typ": "JWT"}), typ),
        (json!({"typ": null}), typ),
        (json!({"typ": "id+jwt"}), typ),
        (json!({"kid": "other"}), "The issuer has no such key."),
        (json!({"crit": ["exp"]}), "The token requires unknown extensions."),
        (json!({"alg": "ES384"}), "The issuer has no such key."),
        (json!({"alg": "RS256"}), "The issuer has no such key."),
        (json!({"alg": "ES512"}), "The token is not a JWT with an accepted signature."),
        (json!({"alg": "RS512"}), "The signature algorithm of the token is not accepted."),
    ];
    for (changes, reason) in cases {
        let token = pen.token(&with(header("ES256", "k"), changes.clone()), &issuer.claims());
        assert_eq!(server.check(&token, NOW).await, Err(Refusal::Invalid(reason.to_owned())), "{changes}");
    }
    for changes in [json!({"typ": "application/at+jwt"}), json!({"typ": "AT+JWT"}), json!({"kid": null})] {
        let token = pen.token(&with(header("ES256", "k"), changes.clone()), &issuer.claims());
        server.check(&token, NOW).await.unwrap_or_else(|refusal| panic!("{changes}: {refusal}"));
    }
    let untyped = ResourceServer::new(OauthSettings { typed: false, ..issuer.settings() }).expect("a resource server");
    let token = pen.token(&with(header("ES256", "k"), json!({"typ": null})), &issuer.claims());
    untyped.check(&token, NOW).await.expect("configured so");
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (pen, other) = (Pen::rsa(), Pen::rsa());
    let jwk = pen.jwk("k");
    let issuer = Issuer::of(std::slice::from_ref(&jwk)).await;
    let server = issuer.resource_server();
    let good = pen.token(&header("RS256", "k"), &issuer.claims());
    server.check(&good, NOW).await.expect("it is good");
    let parts: Vec<&str> = good.split('.').collect();
    let changed = encode(with(issuer.claims(), json!({"sub": "root"})).to_string());
    let Pen::Rsa(pair) = &pen else { unreachable!() };
    let public = aws_lc_rs::signature::KeyPair::public_key(pair.as_ref()).as_ref();
    let none = encode(json!({"alg": "none", "typ": "at+jwt"}).to_string());
    let embedded = with(header("RS256", "k"), json!({"kid": null, "jwk": other.jwk("k")}));
    let linked = with(header("RS256", "mine"), json!({"jku": format!("{}/mine", issuer.name)}));
    let forged = [
        ("another key's signature", other.token(&header("RS256", "k"), &issuer.claims())),
        ("a key in the header", other.token(&embedded, &issuer.claims())),
        ("an address of a key in the header", other.token(&linked, &issuer.claims())),
        ("a changed payload", format!("{}.{changed}.{}", parts[0], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", format!("{none}.{}.", parts[1])),
        ("alg none with the signature", format!("{none}.{}.{}", parts[1], parts[2])),
        ("HS256 with the public key", symmetric(public, &header("HS256", "k"), &issuer.claims())),
        (
            "HS256 with the modulus",
            symmetric(jwk["n"].as_str().expect("n").as_bytes(), &header("HS256", "k"), &issuer.claims()),
        ),
        ("PS256 said of an RS256 signature", {
            let head = encode(header("PS256", "k").to_string());
            format!("{head}.{}.{}", parts[1], parts[2])
        }),
        ("five parts", format!("{good}.a.b")),
        ("two parts", parts[..2].join(".")),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("a very long token", format!("{}.{}.{}", parts[0], "A".repeat(20_000), parts[2])),
    ];
    for (what, token) in forged {
        assert!(matches!(server.check(&token, NOW).await, Err(Refusal::Invalid(_))), "{what}");
    }
}

#[tokio::test]
async fn settings_that_would_not_keep_anyone_out_are_refused() {
    let issuer = Issuer::silent().await;
    let refused = |change: fn(&mut OauthSettings)| {
        let mut settings = issuer.settings();
        change(&mut settings);
        ResourceServer::new(settings).err().expect("a refusal")
    };
    assert!(matches!(refused(|settings| settings.audiences.clear()), SettingsError::NoAudience));
    assert!(matches!(refused(|settings| settings.algorithms.push(Algorithm::HS256)), SettingsError::Algorithm(_)));
    assert!(matches!(refused(|settings| settings.clock_skew = Duration::from_secs(61)), SettingsError::ClockSkew));
    assert!(matches!(refused(|settings| settings.issuer = "http://id.example".to_owned()), SettingsError::Issuer(_)));
}

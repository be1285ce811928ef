//! An issuer's public keys (RFC 7517).

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// A public key that may verify signatures.
pub(super) struct Key {
    id: Option<String>,
    /// The algorithms that fit its type, and its `alg` if it names one.
    algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

impl Key {
    /// The keys of a set that are of use here. What is of another type, for
    /// encryption, or can't be read, is left out, as RFC 7517 (5) asks.
    pub(super) fn of_set(set: &Value) -> Option<Vec<Key>> {
        Some(set.get("keys")?.as_array()?.iter().filter_map(Self::of).collect())
    }

    fn of(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        if jwk.common.key_operations.as_ref().is_some_and(|able| !able.contains(&KeyOperations::Verify)) {
            return None;
        }
        let fitting: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[Algorithm::RS256, Algorithm::PS256],
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            // A symmetric key in a public set is no secret.
            _ => return None,
        };
        let algorithms = match &jwk.common.key_algorithm {
            None => fitting.to_vec(),
            Some(named) => vec![*fitting.iter().find(|algorithm| same(**algorithm, named))?],
        };
        Some(Self { decoding: DecodingKey::from_jwk(&jwk).ok()?, id: jwk.common.key_id, algorithms })
    }

    /// Whether it is the key that a token's header means. A token that names none
    /// may mean any that fits.
    pub(super) fn is_meant(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        (id.is_none() || self.id.as_deref() == id) && self.algorithms.contains(&algorithm)
    }
}

fn same(algorithm: Algorithm, named: &KeyAlgorithm) -> bool {
    matches!(
        (algorithm, named),
        (Algorithm::RS256, KeyAlgorithm::RS256)
            | (Algorithm::PS256, KeyAlgorithm::PS256)
            | (Algorithm::ES256, KeyAlgorithm::ES256)
            | (Algorithm::ES384, KeyAlgorithm::ES384)
            | (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
    )
}

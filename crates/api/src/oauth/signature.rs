//! How the signatures of tokens are checked: by `ring`.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// Lets `jsonwebtoken` check signatures, unless the program has given it other cryptography.
pub(super) fn prepare() {
    static RING: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        verifier_factory: check,
        key_utils: KeyUtils::new_unimplemented(),
    };
    if CryptoProvider::try_get_default().is_none() {
        // Fails only if another thread does the same at this moment.
        RING.install_default().ok();
    }
}

/// Checks signatures of one key.
struct Check {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn check(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // The bytes of a key do not tell what they are: a public key is no secret of HS256.
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(Check { algorithm: *algorithm, key: key.clone() }))
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Check {
    /// Good only with one of [`ALGORITHMS`](super::ALGORITHMS).
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let rsa = |padding: &RsaParameters, n: &[u8], e: &[u8]| {
            RsaPublicKeyComponents { n: number(n), e: number(e) }.verify(padding, message, signature)
        };
        let other = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        };
        let checked = match (self.algorithm, self.key.kind()) {
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => rsa(&RSA_PKCS1_2048_8192_SHA256, n, e),
            (Algorithm::PS256, DecodingKeyKind::RsaModulusExponent { n, e }) => rsa(&RSA_PSS_2048_8192_SHA256, n, e),
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(key)) => other(&ECDSA_P256_SHA256_FIXED, key),
            (Algorithm::ES384, DecodingKeyKind::SecretOrDer(key)) => other(&ECDSA_P384_SHA384_FIXED, key),
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(key)) => other(&ED25519, key),
            _ => return Err(Error::new()),
        };
        checked.map_err(|_| Error::new())
    }
}

/// Some issuers write a zero before a number (RFC 7518, 6.3.1.1), which `ring` does not take.
fn number(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

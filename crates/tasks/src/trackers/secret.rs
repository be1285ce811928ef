//! The host's key for credentials at rest.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

/// The key that seals credentials: AES-256-GCM with a random nonce for each
/// sealing (good for 2³² sealings under one key, NIST SP 800-38D).
#[derive(Clone)]
pub struct SecretKey {
    key: Arc<RandomizedNonceKey>,
}

/// The text is no key.
#[derive(Debug, thiserror::Error)]
#[error("a secret key is 64 hexadecimal digits; make one with `openssl rand -hex 32`")]
pub struct InvalidSecretKey;

impl SecretKey {
    /// Reads a key of 64 hexadecimal digits.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidSecretKey> {
        let text = text.trim();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidSecretKey);
        }
        let bytes: Vec<u8> =
            (0..64).step_by(2).filter_map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect();
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| InvalidSecretKey)?;
        Ok(Self { key: Arc::new(key) })
    }

    /// Nonce and ciphertext with tag; opens only with the same `bound_to`.
    pub(super) fn seal(&self, bound_to: &[u8], mut plain: Vec<u8>) -> Option<Vec<u8>> {
        let nonce = self.key.seal_in_place_append_tag(Aad::from(bound_to), &mut plain).ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut plain);
        Some(sealed)
    }

    pub(super) fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = sealed.to_vec();
        self.key.open_in_place(nonce, Aad::from(bound_to), &mut text).ok().map(|plain| plain.to_vec())
    }
}

// By hand, so that the key does not get into a log.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::SecretKey;

    fn key(digit: char) -> SecretKey {
        SecretKey::parse(&digit.to_string().repeat(64)).expect("a key")
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_binding_only() {
        let sealed = key('a').seal(b"system 1", b"hunter2".to_vec()).expect("sealed");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(key('a').open(b"system 1", &sealed).as_deref(), Some(&b"hunter2"[..]));
        assert_eq!(key('b').open(b"system 1", &sealed), None);
        assert_eq!(key('a').open(b"system 2", &sealed), None);
        assert_eq!(key('a').open(b"system 1", &sealed[..5]), None);
    }

    #[test]
    fn the_same_text_is_sealed_differently_each_time() {
        let seal = || key('a').seal(b"", b"text".to_vec()).expect("sealed");
        assert_ne!(seal(), seal());
    }

    #[test]
    fn anything_but_64_hexadecimal_digits_is_no_key() {
        for text in ["", "abc", &"g".repeat(64), &"a".repeat(66), &"ä".repeat(32)] {
            assert!(SecretKey::parse(text).is_err(), "{text}");
        }
        assert!(format!("{:?}", key('a')).len() < 30);
    }
}

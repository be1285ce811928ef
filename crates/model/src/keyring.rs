//! The host's keys for what is secret at rest.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// A secret key: AES-256-GCM with a random nonce for each encryption (safe for 2³² encryptions with
/// one key, NIST SP 800-38D).
#[derive(Clone)]
pub struct SecretKey {
    key: Arc<LessSafeKey>,
    /// For digests, derived from the key.
    digests: hmac::Key,
    /// Tells keys apart without telling anything of them.
    id: String,
}

/// The text is not a key.
#[derive(Debug, thiserror::Error)]
#[error("a secret key has 64 hexadecimal digits; create one with `openssl rand -hex 32`")]
pub struct InvalidSecretKey;

impl SecretKey {
    /// Reads a key of 64 hexadecimal digits.
    ///
    /// # Errors
    /// If the text is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidSecretKey> {
        let text = text.trim();
        if text.len() != 64 {
            return Err(InvalidSecretKey);
        }
        let bytes = from_hex(text).ok_or(InvalidSecretKey)?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| InvalidSecretKey)?);
        // One key, one use: what digests and ids are made with is derived.
        let derived = |label: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), label);
        let digests = hmac::Key::new(hmac::HMAC_SHA256, derived(b"longhaul digest").as_ref());
        let id = to_hex(&derived(b"longhaul key id").as_ref()[..4]);
        Ok(Self { key: Arc::new(key), digests, id })
    }

    /// Nonce and ciphertext with tag; opens only with the same `bound_to`. `None` if the
    /// system has no randomness.
    #[must_use]
    pub fn seal(&self, bound_to: &[u8], mut plain: Vec<u8>) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = nonce.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(bound_to), &mut plain).ok()?;
        sealed.append(&mut plain);
        Some(sealed)
    }

    /// What was sealed, if it was with this key and the same `bound_to`.
    #[must_use]
    pub fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
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

/// What a sealed text begins with.
const FORM: &str = "1";

/// The secret keys of a host: one that encrypts, and older ones that only decrypt. Task types with
/// [`Secret`](crate::Secret) parameters require this resource.
#[derive(Debug, Clone)]
pub struct Keyring {
    current: SecretKey,
    older: Vec<SecretKey>,
}

impl Keyring {
    /// Encrypts with `current`, and decrypts with it or one of `older`.
    #[must_use]
    pub fn new(current: SecretKey, older: Vec<SecretKey>) -> Self {
        Self { current, older }
    }

    /// The key that seals.
    #[must_use]
    pub fn current(&self) -> &SecretKey {
        &self.current
    }

    /// The keys that only open.
    #[must_use]
    pub fn older(&self) -> &[SecretKey] {
        &self.older
    }

    /// Seals to text: `1:<key id>:<nonce and ciphertext in hexadecimal>`. Opens only with
    /// the same `bound_to`. `None` if the system has no randomness.
    #[must_use]
    pub fn seal(&self, bound_to: &[u8], plain: Vec<u8>) -> Option<String> {
        self.seal_as(FORM, bound_to, plain)
    }

    /// The same with another word than `1` at the beginning, which says what it is bound to.
    pub(crate) fn seal_as(&self, form: &str, bound_to: &[u8], plain: Vec<u8>) -> Option<String> {
        let sealed = self.current.seal(bound_to, plain)?;
        Some(format!("{form}:{}:{}", self.current.id, to_hex(&sealed)))
    }

    /// What was sealed.
    ///
    /// # Errors
    /// If it was sealed with a key that is not here, or bound to something else, or changed since.
    pub fn open(&self, bound_to: &[u8], sealed: &str) -> Result<Vec<u8>, NotOpened> {
        self.open_as(FORM, bound_to, sealed)
    }

    /// What [`seal_as`](Self::seal_as) sealed.
    pub(crate) fn open_as(&self, form: &str, bound_to: &[u8], sealed: &str) -> Result<Vec<u8>, NotOpened> {
        let mut parts = sealed.split(':');
        let (Some(said), Some(id), Some(text), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NotOpened::Spoiled);
        };
        if said != form {
            return Err(NotOpened::Spoiled);
        }
        let key = std::iter::once(&self.current)
            .chain(&self.older)
            .find(|key| key.id == id)
            .ok_or_else(|| NotOpened::UnknownKey(id.chars().take(8).collect()))?;
        from_hex(text).and_then(|sealed| key.open(bound_to, &sealed)).ok_or(NotOpened::Spoiled)
    }

    /// The same text for the same bytes, of which it tells nothing to who has no key.
    #[must_use]
    pub fn digest(&self, plain: &[u8]) -> String {
        to_hex(hmac::sign(&self.current.digests, plain).as_ref())
    }
}

/// Why a sealed text can't be decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// Another key sealed it.
    #[error("it was encrypted with the key {0}, which this host does not have; add it to LONGHAUL_OLDER_SECRET_KEYS")]
    UnknownKey(String),
    /// The text was changed or moved.
    #[error("it was changed after its encryption")]
    Spoiled,
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Keyring, NotOpened, SecretKey};

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

    /// As the first releases wrote it, whose cryptography was aws-lc's.
    #[test]
    fn what_another_implementation_sealed_still_opens() {
        let ring = Keyring::new(key('a'), Vec::new());
        let sealed = "1:abb8c1b1:c1257325b45bead0ebe1f814a46b8dbaf0f3fd7bdd5f72f17b78c118c2e0dae9fbdb39";
        assert_eq!(ring.open(b"T", sealed).as_deref(), Ok(&b"hunter2"[..]));
        assert_eq!(ring.digest(b"hunter2"), "95e9a89e34b5308a5235ac2bb7af62a97c621ba8c22ecc6a81313b50923b31d0");
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

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens_until_it_is_taken_away() {
        let before = Keyring::new(key('a'), Vec::new()).seal(b"T", b"hunter2".to_vec()).expect("sealed");
        let rotated = Keyring::new(key('b'), vec![key('a')]);
        assert_eq!(rotated.open(b"T", &before).as_deref(), Ok(&b"hunter2"[..]));
        let after = rotated.seal(b"T", b"hunter2".to_vec()).expect("sealed");
        let done = Keyring::new(key('b'), Vec::new());
        assert_eq!(done.open(b"T", &after).as_deref(), Ok(&b"hunter2"[..]));
        assert!(matches!(done.open(b"T", &before), Err(NotOpened::UnknownKey(_))));
        assert_eq!(done.open(b"U", &after), Err(NotOpened::Spoiled));
        for spoiled in ["", "1", "1:", "2:00:00", &after.replace("1:", "1:x:"), &after[..after.len() - 2]] {
            assert!(done.open(b"T", spoiled).is_err(), "{spoiled}");
        }
    }

    #[test]
    fn a_digest_is_the_same_for_the_same_text_and_key() {
        let ring = |digit| Keyring::new(key(digit), Vec::new());
        assert_eq!(ring('a').digest(b"x"), ring('a').digest(b"x"));
        assert_ne!(ring('a').digest(b"x"), ring('a').digest(b"y"));
        assert_ne!(ring('a').digest(b"x"), ring('b').digest(b"x"));
    }
}

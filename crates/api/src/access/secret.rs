//! The secrets of API keys: how they are made, what is stored of them.

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};

/// A new key's secret. Shown once; only its hash is kept.
///
/// `lh_` and ten characters, by which people know it (the *prefix*), `_`, 43 characters
/// of chance (256 bits), and six that are a checksum of all before them, so that a slip
/// of the pen is refused without asking the database, and scanners of leaked secrets
/// know one for sure. All characters are letters and digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

const MARK: &str = "lh_";
const PREFIX: usize = MARK.len() + 10;
const CHANCE: usize = 43;
const CHECKSUM: usize = 6;
const LENGTH: usize = PREFIX + 1 + CHANCE + CHECKSUM;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Secret {
    /// One that nobody has seen.
    ///
    /// # Errors
    /// If the operating system provides no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let digits = random_digits(PREFIX - MARK.len() + CHANCE)?;
        let (prefix, chance) = digits.split_at(PREFIX - MARK.len());
        let body = format!("{MARK}{prefix}_{chance}");
        let checksum = checksum(&body);
        Ok(Self(body + &checksum))
    }

    /// Whether a token is meant to be one.
    #[must_use]
    pub fn is_meant(token: &str) -> bool {
        token.starts_with(MARK)
    }

    /// The secret in this text, if it has the form of one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let whole = text.len() == LENGTH
            && text.starts_with(MARK)
            && text.as_bytes()[PREFIX] == b'_'
            && text
                .bytes()
                .enumerate()
                .all(|(at, byte)| at < MARK.len() || at == PREFIX || byte.is_ascii_alphanumeric());
        let (body, sum) = text.split_at_checked(LENGTH - CHECKSUM).filter(|_| whole)?;
        (checksum(body) == sum).then(|| Self(text.to_owned()))
    }

    /// What people know it by.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0[..PREFIX]
    }

    /// All of it, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}…)", self.prefix())
    }
}

/// Digits of base 62, each as likely as another.
fn random_digits(count: usize) -> Result<String, getrandom::Error> {
    // The largest multiple of 62 that a byte holds: bytes above would make the first
    // digits likelier.
    const FAIR: u8 = 248;
    let mut digits = String::with_capacity(count);
    let mut bytes = [0; 64];
    loop {
        getrandom::fill(&mut bytes)?;
        for byte in bytes.iter().filter(|byte| **byte < FAIR) {
            if digits.len() == count {
                return Ok(digits);
            }
            digits.push(char::from(DIGITS[usize::from(byte % 62)]));
        }
    }
}

/// CRC-32 in base 62.
fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % 62];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

/// What secrets are hashed with.
///
/// A secret has 256 bits of chance, so a fast hash is enough: there is nothing to
/// guess. Keyed with a secret of the servers, it is also of no use to someone who can
/// write to the database and nothing else: a row of their own making matches no secret.
/// Without a servers' secret the hash is not keyed with anything that is not public.
#[derive(Clone)]
pub struct Hasher {
    keyed: hmac::Key,
    /// For sessions, if there is a servers' secret.
    sessions: Option<hmac::Key>,
    id: Option<String>,
}

/// A hash.
pub type Hash = [u8; 32];

/// The shortest secret of servers.
pub const SHORTEST_SERVER_SECRET: usize = 32;

impl Hasher {
    /// Keyed with the servers' secret, if there is one.
    #[must_use]
    pub fn new(server_secret: Option<&str>) -> Self {
        const PURPOSE: &[u8] = b"longhaul api key 1";
        let Some(secret) = server_secret else { return Self { keyed: key(PURPOSE), sessions: None, id: None } };
        let derived = |purpose: &[u8]| hmac::sign(&key(secret.as_bytes()), purpose);
        let id = derived(b"longhaul secret id").as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let sessions = Some(key(derived(b"longhaul session 1").as_ref()));
        Self { keyed: key(derived(PURPOSE).as_ref()), sessions, id: Some(id) }
    }

    /// Which servers' secret it is keyed with: eight hexadecimal digits that do not
    /// tell it.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The hash of a secret.
    #[must_use]
    pub fn hash(&self, secret: &Secret) -> Hash {
        hash(hmac::sign(&self.keyed, secret.0.as_bytes()).as_ref())
    }

    /// What the database knows a session by, of its id. As with keys, a row that someone
    /// writes who has not the servers' secret is no session.
    pub(crate) fn session(&self, id: &[u8]) -> Hash {
        match &self.sessions {
            Some(keyed) => hash(hmac::sign(keyed, id).as_ref()),
            None => hash(digest(&SHA256, id).as_ref()),
        }
    }

    /// Whether this is the secret's hash; takes as long wherever they differ.
    #[must_use]
    pub fn matches(&self, secret: &Secret, hash: &[u8]) -> bool {
        hmac::verify(&self.keyed, secret.0.as_bytes(), hash).is_ok()
    }
}

fn key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(HMAC_SHA256, bytes)
}

fn hash(bytes: &[u8]) -> Hash {
    bytes.try_into().unwrap_or_else(|_| unreachable!("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::{Hasher, Secret};

    #[test]
    fn a_secret_is_read_back_and_every_slip_is_noticed() {
        let secret = Secret::generate().expect("randomness");
        let text = secret.expose().to_owned();
        assert_eq!(Secret::read(&text), Some(secret.clone()));
        assert_eq!(text.len(), 63);
        assert!(!format!("{secret:?}").contains(&text[14..]));
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(Secret::read(&String::from_utf8(wrong).expect("ASCII")), None, "a slip at {at}");
        }
        for wrong in ["", "lh_", &text[1..], &text[..62], &format!("{text}x"), &"ä".repeat(32), &"€".repeat(21)] {
            assert_eq!(Secret::read(wrong), None, "{wrong}");
        }
        assert_ne!(Secret::generate().expect("randomness"), secret);
    }

    #[test]
    fn a_hash_belongs_to_its_secret_and_to_the_servers() {
        let (secret, other) = (Secret::generate().expect("randomness"), Secret::generate().expect("randomness"));
        let (bare, keyed) = (Hasher::new(None), Hasher::new(Some("0123456789abcdef0123456789abcdef")));
        for hasher in [&bare, &keyed] {
            assert!(hasher.matches(&secret, &hasher.hash(&secret)));
            assert!(!hasher.matches(&other, &hasher.hash(&secret)));
            assert!(!hasher.matches(&secret, &hasher.hash(&secret)[..31]));
        }
        assert!(!keyed.matches(&secret, &bare.hash(&secret)));
        assert_eq!(bare.id(), None);
        assert_ne!(keyed.id(), Hasher::new(Some("another")).id());
    }
}

//! Ids as clients see them: a prefix and a guid.

use std::fmt;

use uuid::Uuid;

/// A task's id on the wire: the prefix of its type and its guid, e.g.
/// `reindex-7bdba522-590a-4df4-b409-a2939851241b`. Opaque to clients, matched
/// case-insensitively (contract, "The task body").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicId {
    prefix: &'static str,
    id: Uuid,
}

impl PublicId {
    /// The public form of `id` for a type with this prefix.
    #[must_use]
    pub const fn new(prefix: &'static str, id: Uuid) -> Self {
        Self { prefix, id }
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.prefix, self.id)
    }
}

/// Splits what a client sent into prefix (as sent) and guid; `None` if it does
/// not end in a hyphenated guid.
#[must_use]
pub fn split_public_id(text: &str) -> Option<(&str, Uuid)> {
    let at = text.len().checked_sub(36)?;
    let (prefix, guid) = (text.get(..at)?, text.get(at..)?);
    let id = Uuid::try_parse(guid).ok()?;
    Some((prefix, id))
}

#[cfg(test)]
mod tests {
    use super::split_public_id;

    #[test]
    fn prefix_and_guid_are_told_apart_whatever_the_case() {
        let (prefix, id) = split_public_id("ReIndex-7BDBA522-590a-4df4-b409-a2939851241b").expect("an id");
        assert_eq!(prefix, "ReIndex-");
        assert_eq!(id.to_string(), "7bdba522-590a-4df4-b409-a2939851241b");
    }

    #[test]
    fn what_is_no_id_is_none() {
        for text in ["", "reindex-", "reindex-7bdba522", "äöü", "reindex-7bdba522-590a-4df4-b409-a2939851241ä"] {
            assert!(split_public_id(text).is_none(), "{text}");
        }
    }
}

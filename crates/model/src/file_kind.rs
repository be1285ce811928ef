//! What a file or a body is that is not what was expected, so that messages call it by its
//! name.

use std::fmt;

/// What bytes are, told by how they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum FileKind {
    Empty,
    Zip,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Pdf,
    Utf16,
    Html,
    Xml,
    JsonArray,
    Json,
    Csv,
    Text,
    Binary,
}

/// So much of a file tells what it is.
const ENOUGH: usize = 4_096;

impl FileKind {
    /// What begins with these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(ENOUGH)];
        for (magic, kind) in [
            (&b"PK\x03\x04"[..], Self::Zip),
            (b"PK\x05\x06", Self::Zip),
            (b"\x1f\x8b", Self::Gzip),
            (b"BZh", Self::Bzip2),
            (b"\xfd7zXZ", Self::Xz),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"%PDF-", Self::Pdf),
            (b"\xff\xfe", Self::Utf16),
            (b"\xfe\xff", Self::Utf16),
        ] {
            if bytes.starts_with(magic) {
                return kind;
            }
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        match text {
            [] => Self::Empty,
            // Every second byte of Western text in UTF-16.
            [0, 1..=255, ..] | [1..=255, 0, ..] if text.len() > 3 => Self::Utf16,
            _ if text.contains(&0) => Self::Binary,
            [b'[', ..] => Self::JsonArray,
            [b'{', ..] => Self::Json,
            [b'<', rest @ ..] => {
                let begins = |word: &[u8]| rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word);
                if begins(b"!doctype html") || begins(b"html") { Self::Html } else { Self::Xml }
            }
            _ => Self::of_text(text),
        }
    }

    /// A table has the same separator several times in its first lines.
    fn of_text(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let (Some(first), second) = (lines.next(), lines.next()) else { return Self::Text };
        let is_table = [',', ';', '\t'].into_iter().any(|separator| {
            let count = first.matches(separator).count();
            count > 0 && second.is_none_or(|second| second.matches(separator).count() >= count)
        });
        if is_table { Self::Csv } else { Self::Text }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nothing",
            Self::Zip => "a zip file",
            Self::Gzip => "a gzip file",
            Self::Bzip2 => "a bzip2 file",
            Self::Xz => "an xz file",
            Self::Zstd => "a zstd file",
            Self::Pdf => "a PDF file",
            Self::Utf16 => "text in UTF-16",
            Self::Html => "a web page",
            Self::Xml => "XML",
            Self::JsonArray => "a JSON array",
            Self::Json => "JSON",
            Self::Csv => "a table (CSV)",
            Self::Text => "plain text",
            Self::Binary => "a binary file",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::FileKind;

    #[test]
    fn a_file_is_told_by_how_it_begins() {
        for (bytes, kind) in [
            (&b""[..], FileKind::Empty),
            (b" \n", FileKind::Empty),
            (b"PK\x03\x04\x14", FileKind::Zip),
            (b"\x1f\x8b\x08", FileKind::Gzip),
            (b"%PDF-1.7", FileKind::Pdf),
            (b"\xff\xfe{\0", FileKind::Utf16),
            (b"{\0\"\0a\0", FileKind::Utf16),
            (b"\0<\0a\0>", FileKind::Utf16),
            (b"\xef\xbb\xbf[{}]", FileKind::JsonArray),
            (b"{\"a\":1}", FileKind::Json),
            (b"<!DOCTYPE HTML>", FileKind::Html),
            (b"<html lang='en'>", FileKind::Html),
            (b"<?xml version='1.0'?>", FileKind::Xml),
            (b"Id;Name\n1;x\n", FileKind::Csv),
            (b"Id,Name", FileKind::Csv),
            (b"Dear all, hello\nyours", FileKind::Text),
            (b"nonsense", FileKind::Text),
            (b"\x7fELF\x02\x01\x01\0\0", FileKind::Binary),
        ] {
            assert_eq!(FileKind::of(bytes), kind, "{bytes:?}");
        }
    }
}

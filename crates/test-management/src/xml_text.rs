//! The text of an XML document, whatever it is encoded in (XML 1.0, appendix F).

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// A document's text.
#[derive(Debug)]
pub(crate) struct XmlText {
    pub(crate) text: String,
    /// Some of its bytes are no characters in this encoding, and were replaced.
    pub(crate) replaced_in: Option<&'static str>,
}

/// The declaration of an encoding stands within the first bytes, if it does.
const DECLARATION: usize = 1_024;

/// Reads a document: a byte order mark decides, then the way in which it begins, then what
/// its prologue declares, else it is UTF-8.
///
/// # Errors
/// If it is not UTF-8 and says of itself that it is, or of which encoding it is is not known: in
/// words.
pub(crate) fn read_xml(bytes: Vec<u8>) -> Result<XmlText, String> {
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Err("it is in UTF-32; write it in UTF-8".to_owned());
    }
    if let Some((encoding, length)) = Encoding::for_bom(&bytes) {
        return Ok(decode(encoding, bytes, length));
    }
    match bytes.as_slice() {
        [b'<', 0, ..] => return Ok(decode(UTF_16LE, bytes, 0)),
        [0, b'<', ..] => return Ok(decode(UTF_16BE, bytes, 0)),
        _ => {}
    }
    let declared = declared(&bytes);
    let encoding = match declared.as_deref().map(|name| Encoding::for_label(name.as_bytes())) {
        // A declaration of UTF-16 that is not in UTF-16 itself comes from a text that was
        // written in UTF-8 later.
        Some(Some(encoding)) if encoding != UTF_16LE && encoding != UTF_16BE => encoding,
        _ => UTF_8,
    };
    if encoding != UTF_8 {
        return Ok(decode(encoding, bytes, 0));
    }
    String::from_utf8(bytes).map(|text| XmlText { text, replaced_in: None }).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        match declared {
            Some(name) => format!("it declares the encoding '{name}', and is not UTF-8 at byte {at}"),
            None => format!("it declares no encoding, and is not UTF-8 at byte {at}"),
        }
    })
}

fn decode(encoding: &'static Encoding, mut bytes: Vec<u8>, mark: usize) -> XmlText {
    let (text, had_errors) = encoding.decode_without_bom_handling(&bytes[mark..]);
    let text = text.into_owned();
    bytes.clear();
    XmlText { text, replaced_in: had_errors.then(|| encoding.name()) }
}

/// The encoding that the prologue names, if it does.
fn declared(bytes: &[u8]) -> Option<String> {
    let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION)]);
    let declaration = begin.trim_start().strip_prefix("<?xml")?.split("?>").next()?;
    let value = declaration.split("encoding").nth(1)?.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let name = value[1..].split(quote).next()?.trim();
    Some(name.chars().take(40).collect())
}

#[cfg(test)]
mod tests {
    use super::read_xml;

    fn utf16(text: &str, mark: bool, big: bool) -> Vec<u8> {
        let mark = if mark { "\u{feff}" } else { "" };
        let units = mark.encode_utf16().chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn a_document_is_read_in_the_encoding_that_it_is_in() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a>Prüfung ✓ 日本</a>";
        for bytes in [
            utf16(text, true, false),
            utf16(text, true, true),
            utf16(text, false, false),
            utf16(text, false, true),
            // Converted since, with the declaration left as it was.
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
        ] {
            let read = read_xml(bytes).expect("a text");
            assert_eq!((read.text.as_str(), read.replaced_in), (text, None));
        }
        for name in ["ISO-8859-1", "iso-8859-15", "windows-1252", "Latin1", "cp1252"] {
            let mut bytes = format!("<?xml version='1.0' encoding='{name}' ?><a>Pr").into_bytes();
            bytes.extend_from_slice(b"\xfcfung</a>");
            assert!(read_xml(bytes).expect(name).text.contains("Prüfung"), "{name}");
        }
        let euro = b"<?xml version='1.0' encoding='windows-1252'?><a>\x80</a>".to_vec();
        assert!(read_xml(euro).expect("a text").text.contains('€'));
    }

    #[test]
    fn what_is_not_in_the_encoding_that_it_says_is_told() {
        for (bytes, told) in [
            (&b"<a>\xfc</a>"[..], "declares no encoding, and is not UTF-8 at byte 3"),
            (b"<?xml version='1.0' encoding='utf-8'?><a>\xfc</a>", "declares the encoding 'utf-8', and is not UTF-8"),
            (b"<?xml version='1.0' encoding='klingon'?><a>\xfc</a>", "'klingon'"),
            (b"\xff\xfe\0\0<\0\0\0", "UTF-32"),
        ] {
            let error = read_xml(bytes.to_vec()).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
        let cut = read_xml(b"<\0a\0>\0\x00\xd8<\0/\0a\0>\0".to_vec()).expect("a text");
        assert_eq!(cut.replaced_in, Some("UTF-16LE"));
        assert!(read_xml(b"<?xml encoding='klingon'?><a/>".to_vec()).is_ok(), "it is UTF-8 all the same");
    }
}

//! Text in addresses (RFC 3986).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays in every part of an address (section 2.3).
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What also stays in the value of a query (section 3.4): lists and times are read better so.
const VALUE: &AsciiSet = &PART.remove(b',').remove(b':');

/// Percent-encodes a segment of a path, or any other part of an address.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, PART).to_string()
}

/// Percent-encodes the value of a query.
pub(crate) fn query_value(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

#[cfg(test)]
mod tests {
    use super::{percent_encoded, query_value};

    #[test]
    fn what_means_something_in_an_address_is_encoded() {
        assert_eq!(percent_encoded("a b&c=ä/\"<"), "a%20b%26c%3D%C3%A4%2F%22%3C");
        assert_eq!(query_value("Failed,Cancelled 12:00+01"), "Failed,Cancelled%2012:00%2B01");
    }
}

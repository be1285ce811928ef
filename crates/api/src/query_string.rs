//! Values in queries and forms.

/// A value in a query or form.
pub(crate) fn value(query: &str, name: &str) -> Option<String> {
    let url = reqwest::Url::parse(&format!("x:/?{}", query.replace('#', "%23"))).ok()?;
    url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// A query or form of these values.
pub(crate) fn query(values: &[(&str, &str)]) -> String {
    let Ok(mut url) = reqwest::Url::parse("x:/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(values);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{query, value};

    #[test]
    fn queries_are_read_as_they_are_written() {
        let written = query(&[("return", "/a?b=c&d=#é+ x"), ("key", "k")]);
        assert_eq!(value(&written, "return").as_deref(), Some("/a?b=c&d=#é+ x"));
        assert_eq!(value(&written, "key").as_deref(), Some("k"));
        assert_eq!(value("a=1#&key=x", "key").as_deref(), Some("x"));
        assert_eq!(value("", "key"), None);
    }
}

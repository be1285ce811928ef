//! What scopes and claims of a token permit.

use std::collections::BTreeSet;
use std::str::FromStr;

use longhaul_model::Permission;
use longhaul_model::pointer::unescape;
use serde_json::{Map, Value};

/// One rule: a scope or a claim's value, and the permission that it gives.
///
/// Written `scope:NAME=PERMISSION` or `claim:NAME:VALUE=PERMISSION`. A claim's name
/// that begins with `/` is a JSON pointer (RFC 6901) into the token, such as
/// `/realm_access/roles`; a colon in a name is written `%3A`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    source: Source,
    permission: Permission,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Scope(String),
    Claim { name: String, value: String },
}

/// Why a rule can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a grant; write scope:NAME=PERMISSION or claim:NAME:VALUE=PERMISSION")]
pub struct RuleError(String);

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RuleError(text.to_owned());
        // Values may contain `=` (names of directories do), permissions can't.
        let (source, permission) = text.rsplit_once('=').ok_or_else(error)?;
        let source = match source.split_once(':').ok_or_else(error)? {
            ("scope", name) if !name.is_empty() && !name.contains(' ') => Source::Scope(name.to_owned()),
            ("claim", rest) => match rest.split_once(':').ok_or_else(error)? {
                (name, value) if !name.is_empty() && !value.is_empty() => {
                    Source::Claim { name: name.replace("%3A", ":").replace("%3a", ":"), value: value.to_owned() }
                }
                _ => return Err(error()),
            },
            _ => return Err(error()),
        };
        let permission = permission.parse().map_err(|_| error())?;
        Ok(Self { source, permission })
    }
}

/// All rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Each gives its permission.
    pub rules: Vec<Rule>,
    /// The name (or JSON pointer) of a claim that lists permissions themselves.
    pub permissions_claim: Option<String>,
}

impl Rules {
    /// Everything that these claims permit.
    #[must_use]
    pub fn permissions(&self, claims: &Map<String, Value>) -> BTreeSet<Permission> {
        let scopes = scopes(claims);
        let given = self.rules.iter().filter(|rule| match &rule.source {
            Source::Scope(name) => scopes.contains(&name.as_str()),
            Source::Claim { name, value } => found(claims, name).is_some_and(|claim| has(claim, value)),
        });
        let listed = self.permissions_claim.as_deref().and_then(|name| found(claims, name)).map(words);
        // What can't be read as a permission permits nothing.
        let listed = listed.unwrap_or_default().into_iter().filter_map(|word| word.parse().ok());
        given.map(|rule| rule.permission.clone()).chain(listed).collect()
    }
}

/// `scope` (RFC 9068, 2.2.3), or `scp`, which several issuers write instead.
fn scopes(claims: &Map<String, Value>) -> Vec<&str> {
    ["scope", "scp"].into_iter().filter_map(|name| claims.get(name)).flat_map(words).collect()
}

fn found<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(pointer) = name.strip_prefix('/') else { return claims.get(name) };
    let mut parts = pointer.split('/').map(unescape);
    let first = claims.get(&parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// A list of texts, or one text with spaces between.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().collect(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a claim is this value, or a list that has it.
fn has(claim: &Value, wanted: &str) -> bool {
    match claim {
        Value::String(text) => text == wanted,
        Value::Bool(yes) => wanted == if *yes { "true" } else { "false" },
        Value::Number(number) => number.to_string() == wanted,
        Value::Array(values) => values.iter().any(|value| !value.is_array() && has(value, wanted)),
        Value::Object(_) | Value::Null => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Rule, Rules};
    use serde_json::{Value, json};

    fn permissions(rules: &[&str], permissions_claim: Option<&str>, claims: Value) -> Vec<String> {
        let rules = rules.iter().map(|rule| rule.parse().expect(rule)).collect();
        let rules = Rules { rules, permissions_claim: permissions_claim.map(str::to_owned) };
        rules.permissions(claims.as_object().expect("an object")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn scopes_give_permissions_whole_and_in_both_spellings() {
        let rules = ["scope:tasks.read=Administration/Tasks/View", "scope:tasks=*"];
        assert_eq!(permissions(&rules, None, json!({"scope": "openid tasks.read"})), ["Administration/Tasks/View"]);
        assert_eq!(permissions(&rules, None, json!({"scp": ["tasks"]})), ["*"]);
        assert!(permissions(&rules, None, json!({"scope": "tasks.reader xtasks"})).is_empty());
        assert!(permissions(&rules, None, json!({"scope": {"tasks": true}})).is_empty());
    }

    #[test]
    fn claims_give_permissions_by_value_even_deep_inside() {
        let rules = [
            "claim:groups:cn=ops,dc=example=Administration/*",
            "claim:/realm_access/roles:admin=*",
            "claim:https%3A//example.org/roles:urn:x:viewer=A/View",
            "claim:staff:true=A/Staff",
        ];
        assert_eq!(permissions(&rules, None, json!({"groups": ["a", "cn=ops,dc=example"]})), ["Administration/*"]);
        assert_eq!(permissions(&rules, None, json!({"realm_access": {"roles": ["admin"]}})), ["*"]);
        assert_eq!(permissions(&rules, None, json!({"https://example.org/roles": "urn:x:viewer"})), ["A/View"]);
        assert_eq!(permissions(&rules, None, json!({"staff": true})), ["A/Staff"]);
        let none = json!({"groups": "cn=ops", "realm_access": {"roles": [["admin"]]}, "staff": "false"});
        assert!(permissions(&rules, None, none).is_empty());
    }

    #[test]
    fn a_claim_may_list_permissions_itself() {
        let listed = permissions(&[], Some("permissions"), json!({"permissions": ["A/View", "B/*", "", "x y", 7]}));
        assert_eq!(listed, ["A/View", "B/*"]);
        assert_eq!(permissions(&[], Some("permissions"), json!({"permissions": "A B"})), ["A", "B"]);
    }

    #[test]
    fn a_rule_that_says_nothing_is_refused() {
        let wrong = [
            "",
            "scope:a",
            "scope:=P",
            "claim:a=P",
            "claim::b=P",
            "claim:a:=P",
            "scopes:a=P",
            "scope:a=",
            "scope:a=b c",
        ];
        for rule in wrong {
            assert!(rule.parse::<Rule>().is_err(), "{rule}");
        }
    }
}

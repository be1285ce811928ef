//! What someone may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A permission that is granted: one by name (`TestManagement/ManageIncidents/Edit`),
/// everything below a path (`Administration/Tasks/*`), or everything (`*`).
/// Names are compared letter by letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(String);

/// A text is no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a permission: names of letters, digits, '-' and '_' separated by '/' are expected, the last of \
     which may be '*', with at most 200 characters"
)]
pub struct NoPermission(String);

/// Characters of a permission at most.
const CHARACTERS: usize = 200;

impl Permission {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it grants the permission of this name.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            // Empty, or up to a slash.
            Some(path) => name.len() > path.len() && name.starts_with(path),
            None => self.0 == name,
        }
    }
}

impl FromStr for Permission {
    type Err = NoPermission;

    fn from_str(text: &str) -> Result<Self, NoPermission> {
        let named = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let (path, last) = text.rsplit_once('/').map_or((None, text), |(path, last)| (Some(path), last));
        let whole = path.is_none_or(|path| path.split('/').all(named)) && (last == "*" || named(last));
        if whole && text.len() <= CHARACTERS {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoPermission(text.chars().take(CHARACTERS).collect()))
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The permissions that someone has, in all projects or in some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    everywhere: Vec<Permission>,
    within: Vec<(Permission, BTreeSet<Uuid>)>,
}

impl Grants {
    /// Every permission: that of programs themselves, and of everyone where there
    /// is no authentication.
    #[must_use]
    pub fn everything() -> Self {
        Self::default().with(Permission("*".to_owned()))
    }

    /// No permission.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// And this one, in all projects and for what belongs to none.
    #[must_use]
    pub fn with(mut self, permission: Permission) -> Self {
        self.everywhere.push(permission);
        self
    }

    /// And this one, for what belongs to one of these projects.
    #[must_use]
    pub fn with_in(mut self, permission: Permission, projects: impl IntoIterator<Item = Uuid>) -> Self {
        self.within.push((permission, projects.into_iter().collect()));
        self
    }

    /// Whether they hold every permission there is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.everywhere.iter().any(|granted| granted.0 == "*")
    }

    /// Whether they hold the permission of this name without limits.
    #[must_use]
    pub fn may(&self, permission: &str) -> bool {
        self.everywhere.iter().any(|granted| granted.covers(permission))
    }

    /// Whether they hold it for what belongs to this project.
    #[must_use]
    pub fn may_in(&self, permission: &str, project: Uuid) -> bool {
        self.may(permission)
            || self.within.iter().any(|(granted, projects)| projects.contains(&project) && granted.covers(permission))
    }

    /// The projects in which they hold it, each once; `None` if in all.
    #[must_use]
    pub fn projects(&self, permission: &str) -> Option<Vec<Uuid>> {
        if self.may(permission) {
            return None;
        }
        let held = self.within.iter().filter(|(granted, _)| granted.covers(permission));
        let projects: BTreeSet<Uuid> = held.flat_map(|(_, projects)| projects.iter().copied()).collect();
        Some(projects.into_iter().collect())
    }

    /// Whether any of them is for some projects only.
    #[must_use]
    pub fn are_limited(&self) -> bool {
        !self.within.is_empty()
    }

    /// Whether they hold it for anything at all.
    #[must_use]
    pub fn may_somewhere(&self, permission: &str) -> bool {
        self.may(permission) || self.within.iter().any(|(granted, _)| granted.covers(permission))
    }
}

#[cfg(test)]
mod tests {
    use super::{Grants, Permission};
    use uuid::Uuid;

    fn permission(text: &str) -> Permission {
        text.parse().expect("a permission")
    }

    #[test]
    fn a_star_grants_what_is_below_and_not_what_is_beside() {
        let below = permission("Administration/Tasks/*");
        assert!(below.covers("Administration/Tasks/View"));
        assert!(below.covers("Administration/Tasks/A/B"));
        assert!(!below.covers("Administration/Tasks"));
        assert!(!below.covers("Administration/Tasks/"));
        assert!(!below.covers("Administration/TasksToo/View"));
        assert!(permission("*").covers("A") && permission("*").covers("A/B"));
        let one = permission("Administration/Tasks/View");
        assert!(one.covers("Administration/Tasks/View"));
        assert!(!one.covers("Administration/Tasks/view") && !one.covers("Administration/Tasks/View/More"));
    }

    #[test]
    fn what_is_no_permission_is_refused() {
        for text in ["", "/", "A/", "/A", "A//B", "A/*/B", "A*", "**", "A B", "Ä/B", "A/B\n", &"A".repeat(201)] {
            text.parse::<Permission>().expect_err(text);
        }
    }

    #[test]
    fn a_grant_for_projects_holds_in_them_only() {
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let grants = Grants::nothing().with(permission("A/View")).with_in(permission("A/*"), [mine]);
        assert!(grants.may("A/View") && grants.may_in("A/View", other));
        assert!(!grants.may("A/Edit") && grants.may_in("A/Edit", mine) && !grants.may_in("A/Edit", other));
        assert!(grants.may_somewhere("A/Edit") && !grants.may_somewhere("B/Edit"));
        assert_eq!((grants.projects("A/View"), grants.projects("A/Edit")), (None, Some(vec![mine])));
        assert_eq!(grants.projects("B/Edit"), Some(vec![]));
        assert!(!Grants::nothing().may("A") && Grants::everything().may("A"));
    }
}

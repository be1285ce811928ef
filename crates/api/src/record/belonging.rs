//! Whose records are whose: which of a kind someone sees.

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::QueryAs;
use uuid::Uuid;

use crate::access::{Access, Caller};

/// What the records of a kind belong to.
#[derive(Debug, Clone, Copy)]
pub enum BelongsTo {
    /// Nobody: who has the permission sees all.
    Nobody,
    /// Each to a project, named by this expression: who has the permission in some
    /// projects sees those of them.
    Project(&'static str),
    /// Each to who made it, named by this column. `others` is the permission to see and
    /// use those of others.
    Maker {
        /// The column.
        column: &'static str,
        /// The permission.
        others: &'static str,
    },
}

/// Which records someone sees.
#[derive(Debug, PartialEq)]
pub(super) enum Scope {
    All,
    Projects(&'static str, Vec<Uuid>),
    Maker(&'static str, String),
}

impl BelongsTo {
    /// What it takes to see any.
    pub(super) fn access(self, permission: &'static str) -> Access {
        match self {
            Self::Nobody => Access::Permission(permission),
            Self::Project(_) | Self::Maker { .. } => Access::Somewhere(permission),
        }
    }

    /// Those that someone sees by this permission.
    pub(super) fn scope(self, caller: &Caller, permission: &str) -> Scope {
        match self {
            Self::Nobody => Scope::All,
            Self::Project(column) => match caller.grants().projects(permission) {
                None => Scope::All,
                Some(projects) => Scope::Projects(column, projects),
            },
            Self::Maker { others, .. } if caller.may(others) => Scope::All,
            Self::Maker { column, .. } => {
                caller.created_by().map_or(Scope::All, |maker| Scope::Maker(column, maker.to_owned()))
            }
        }
    }
}

type Query<'q, R> = QueryAs<'q, Postgres, R, PgArguments>;

impl Scope {
    /// In SQL; its value, if it has one, is the parameter `$place`.
    pub(super) fn condition(&self, place: usize) -> String {
        match self {
            Self::All => "true".to_owned(),
            Self::Projects(column, _) => format!("{column} = ANY (${place})"),
            Self::Maker(column, _) => format!("{column} = ${place}"),
        }
    }

    /// A query with its value after those that are bound.
    pub(super) fn bound_to<R: for<'row> sqlx::FromRow<'row, PgRow>>(self, query: Query<'_, R>) -> Query<'_, R> {
        match self {
            Self::All => query,
            Self::Projects(_, projects) => query.bind(projects),
            Self::Maker(_, maker) => query.bind(maker),
        }
    }
}

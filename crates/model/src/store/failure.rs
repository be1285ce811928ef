//! What an error of the database means for the caller of the statement.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgDatabaseError;

/// The three kinds of error that a statement of Longhaul can meet. Every loop, every
/// endpoint and every end of a task decides by this table what to do next; no other place
/// looks at SQLSTATEs to tell errors that pass from errors that stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The same statement may succeed later: the database can't be reached, is busy,
    /// restarts, is read-only for now, or gave another transaction the right of way. The
    /// statement may also have been carried out, if its answer was lost. Try again.
    Passing,
    /// The database refuses these values, and will refuse them again: the statement must be
    /// made without them.
    Data,
    /// Neither: a missing right, a missing table, a fault of the program. The values are not
    /// at fault, so nothing is given up because of it; someone must repair the cause.
    Defect,
}

/// SQLSTATE classes and codes whose errors pass (PostgreSQL manual, appendix A): 08
/// connection exception, 25006 read-only transaction (a standby or an old primary), 25P03
/// and 25P04 timeouts of a transaction, 40 serialization failure and deadlock, 53
/// insufficient resources, 55 locks and objects in use, 57 cancelled, timed out, shut down
/// or starting up, 58 errors of the system around PostgreSQL.
const PASSING: [&str; 9] = ["08", "25006", "25P03", "25P04", "40", "53", "55", "57", "58"];

/// SQLSTATE classes whose errors are those of values: 21 cardinality, 22 data exception, 23
/// integrity constraint, 44 WITH CHECK OPTION, 54 program limit exceeded, P0 an exception
/// that a function or trigger raised.
const DATA: [&str; 6] = ["21", "22", "23", "44", "54", "P0"];

/// SQLSTATE read_only_sql_transaction.
const READ_ONLY: &str = "25006";

/// SQLSTATE classes and codes after which the connection is gone: 08 connection exception, 57P01
/// to 57P05 ended by an administrator, a crash, a restart, a dropped database, an idle timeout.
const LOST: [&str; 2] = ["08", "57P"];

impl Failure {
    /// The kind of this error.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        note(error);
        match error {
            sqlx::Error::Database(error) => error.code().map_or(Self::Defect, |code| Self::of_sqlstate(&code)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Passing,
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Self::Data,
            _ => Self::Defect,
        }
    }

    fn of_sqlstate(code: &str) -> Self {
        if PASSING.iter().any(|class| code.starts_with(class)) {
            Self::Passing
        } else if DATA.iter().any(|class| code.starts_with(class)) {
            Self::Data
        } else {
            Self::Defect
        }
    }
}

/// When this process last met something.
struct LastMet(Mutex<Option<Instant>>);

/// A session that may not write.
static READ_ONLY_SESSIONS: LastMet = LastMet(Mutex::new(None));
/// A statement whose connection was lost.
static LOST_CONNECTIONS: LastMet = LastMet(Mutex::new(None));

/// Every session of the time when the database was read-only has been looked at by then, or
/// has been closed for resting too long.
const SUSPECT_FOR: Duration = Duration::from_secs(15 * 60);

impl LastMet {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn within(&self, time: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|met| met.elapsed() <= time)
    }
}

/// Remembers what an error says about the other connections of this process.
pub(super) fn note(error: &sqlx::Error) {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => LOST_CONNECTIONS.note(),
        _ => match sqlstate(error) {
            Some(code) if code == READ_ONLY => READ_ONLY_SESSIONS.note(),
            Some(code) if LOST.iter().any(|class| code.starts_with(class)) => LOST_CONNECTIONS.note(),
            _ => {}
        },
    }
}

/// A session that may not write was met.
pub(super) fn suspect_sessions() {
    READ_ONLY_SESSIONS.note();
}

/// Whether this process has lately met a session that may not write. One that was opened
/// while its database was read-only stays so: pools ask each before they hand it out, and
/// close it.
#[must_use]
pub fn suspects_read_only_sessions() -> bool {
    READ_ONLY_SESSIONS.within(SUSPECT_FOR)
}

/// Whether this process has lost a connection while this one rested. What ended that one, a restart
/// or an administrator, has most likely ended this one, too: it is asked before it is used. Else
/// every connection of a pool would fail a statement, one after the other.
#[must_use]
pub fn may_be_lost(idle_for: Duration) -> bool {
    LOST_CONNECTIONS.within(idle_for)
}

/// The text for clients if an error is transient.
#[must_use]
pub fn what_passes(error: &sqlx::Error) -> &'static str {
    if sqlstate(error).is_some_and(|code| code == READ_ONLY) {
        "The database does not accept writes now: it is a standby, or read-only."
    } else {
        "The database does not answer."
    }
}

/// The same, and whether the statement was carried out: what someone needs to know who asked
/// for it.
#[must_use]
pub fn what_became_of_it(error: &sqlx::Error) -> String {
    format!("{} {}", what_passes(error), if may_have_been_done(error) { MAY_BE_DONE } else { NOT_DONE })
}

/// Told to someone whose request may have been carried out.
pub const MAY_BE_DONE: &str = "The request may still have been carried out: check, and try again.";
/// Told to someone whose request was not carried out.
pub const NOT_DONE: &str = "Nothing was changed; try again.";
/// Told to someone whose request was carried out, when what follows can't be read.
pub const DONE: &str = "The request was carried out, but its result could not be read.";

/// Whether a statement that failed so may have been carried out: its answer was lost. What the
/// server itself refuses, while it goes on, it has not done; nor has what got no connection.
#[must_use]
pub fn may_have_been_done(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["08", "57P01", "57P02", "40003"].iter().any(|class| code.starts_with(class))),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => false,
        _ => true,
    }
}

/// Whether the server ended the statement because it waited too long, most likely for a lock:
/// 55P03 after `lock_timeout`, 57014 after `statement_timeout`.
#[must_use]
pub fn waited_for_lock(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| code == "55P03" || code == "57014")
}

/// The SQLSTATE of an error, if it has one.
#[must_use]
pub fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

/// What a function of ours says about its refusal for programs, if it does.
pub(super) fn detail(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.detail()
}

/// Whether the same statement may succeed later.
#[must_use]
pub fn is_passing(error: &sqlx::Error) -> bool {
    Failure::of(error) == Failure::Passing
}

/// Whether the database refuses the values of the statement, now and later.
#[must_use]
pub fn is_refusal(error: &sqlx::Error) -> bool {
    Failure::of(error) == Failure::Data
}

#[cfg(test)]
mod tests {
    use super::{Failure, MAY_BE_DONE, NOT_DONE, may_have_been_done, what_became_of_it};

    #[test]
    fn errors_pass_or_are_of_data_or_are_defects() {
        for code in ["57014", "40001", "40P01", "55P03", "53300", "53200", "57P01", "57P03", "25006", "08006", "58030"]
        {
            assert_eq!(Failure::of_sqlstate(code), Failure::Passing, "{code}");
        }
        for code in ["22021", "22P05", "22003", "23505", "23514", "54000", "54001", "P0001"] {
            assert_eq!(Failure::of_sqlstate(code), Failure::Data, "{code}");
        }
        for code in ["42501", "42P01", "42703", "XX000", "25P02"] {
            assert_eq!(Failure::of_sqlstate(code), Failure::Defect, "{code}");
        }
    }

    #[test]
    fn what_never_reached_the_database_passes() {
        assert_eq!(Failure::of(&sqlx::Error::PoolTimedOut), Failure::Passing);
        assert_eq!(Failure::of(&sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())), Failure::Passing);
        assert_eq!(Failure::of(&sqlx::Error::Decode("no JSON".into())), Failure::Data);
        assert!(!may_have_been_done(&sqlx::Error::PoolTimedOut));
        assert!(may_have_been_done(&sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())), "its response may be lost");
    }

    #[test]
    fn someone_is_told_whether_it_may_have_been_done() {
        let lost = what_became_of_it(&sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        assert_eq!(lost, format!("The database does not answer. {MAY_BE_DONE}"));
        let never_sent = what_became_of_it(&sqlx::Error::PoolTimedOut);
        assert_eq!(never_sent, format!("The database does not answer. {NOT_DONE}"));
    }
}

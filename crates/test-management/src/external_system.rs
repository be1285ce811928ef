//! A project's connections to trackers, and finding tickets through them.

use futures_util::future::join_all;
use longhaul_model::Resources;
use sqlx::{FromRow, PgExecutor, PgPool};
use uuid::Uuid;

use crate::problem::{AMBIGUOUS_TICKET_KEY, TICKET_NOT_FOUND, UNKNOWN_EXTERNAL_SYSTEM_LINK};
use crate::refusal::Refusal;
use crate::trackers::{Connection, Found, Ticket, TrackerError, TrackerKind, Trackers};

/// A project's connection to a tracker.
#[derive(Debug, Clone)]
pub(crate) struct ExternalSystemLink {
    pub(crate) id: Uuid,
    pub(crate) project_id: Uuid,
    /// The external system's name.
    pub(crate) name: String,
    pub(crate) connection: Connection,
}

#[derive(FromRow)]
struct LinkRow {
    id: Uuid,
    project_id: Uuid,
    remote_project: Option<String>,
    external_system_id: Uuid,
    name: String,
    kind: String,
    base_url: String,
    credentials: Option<Vec<u8>>,
}

macro_rules! select_link {
    ($condition:literal) => {
        concat!(
            "SELECT l.id, l.project_id, l.remote_project, l.external_system_id, s.name, s.kind, s.base_url, s.credentials
               FROM records.external_system_link l JOIN records.external_system s ON s.id = l.external_system_id
              WHERE ",
            $condition,
            " ORDER BY l.created_at, l.id"
        )
    };
}

impl LinkRow {
    fn into_link(self) -> sqlx::Result<ExternalSystemLink> {
        let kind = TrackerKind::named(&self.kind)
            .ok_or_else(|| sqlx::Error::Decode(format!("unknown tracker kind {}", self.kind).into()))?;
        Ok(ExternalSystemLink {
            id: self.id,
            project_id: self.project_id,
            name: self.name,
            connection: Connection {
                system_id: self.external_system_id,
                kind,
                base_url: self.base_url,
                remote_project: self.remote_project,
                credentials: self.credentials,
            },
        })
    }
}

/// The connection with this id, or `None`.
pub(crate) async fn link(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<ExternalSystemLink>> {
    let row: Option<LinkRow> = sqlx::query_as(select_link!("l.id = $1")).bind(id).fetch_optional(executor).await?;
    row.map(LinkRow::into_link).transpose()
}

async fn links_of_project(pool: &PgPool, project_id: Uuid) -> sqlx::Result<Vec<ExternalSystemLink>> {
    let rows: Vec<LinkRow> = sqlx::query_as(select_link!("l.project_id = $1")).bind(project_id).fetch_all(pool).await?;
    rows.into_iter().map(LinkRow::into_link).collect()
}

/// The connection with this id.
pub(crate) async fn known_link(executor: impl PgExecutor<'_>, id: Uuid) -> Result<ExternalSystemLink, Refusal> {
    link(executor, id).await?.ok_or_else(|| unknown_link(id))
}

/// There is no connection with this id, or whoever asks must not know it.
pub(crate) fn unknown_link(id: Uuid) -> Refusal {
    let detail = format!("There is no external system link {id}; check ExternalSystemLinkId.");
    Refusal::Impossible(UNKNOWN_EXTERNAL_SYSTEM_LINK, detail)
}

/// The way to all trackers, from the host.
pub(crate) fn trackers(resources: &Resources) -> Result<&Trackers, Refusal> {
    resources.get::<Trackers>().ok_or(Refusal::Host("the host gives task types no Trackers"))
}

/// Which ticket is meant.
pub(crate) struct Wanted<'a> {
    pub(crate) project_id: Uuid,
    pub(crate) key: &'a str,
    /// Which tracker to ask; all of the project's if absent.
    pub(crate) external_system_link_id: Option<Uuid>,
}

/// Asks the project's trackers, all at once, for a ticket with this key.
///
/// Exactly one must have it. If one of several can't be asked, nobody knows
/// whether the key is unique, and the answer is that one's error.
pub(crate) async fn find_ticket(
    pool: &PgPool,
    trackers: &Trackers,
    wanted: &Wanted<'_>,
) -> Result<(ExternalSystemLink, Ticket), Refusal> {
    let links = match wanted.external_system_link_id {
        Some(id) => vec![known_link(pool, id).await?],
        None => links_of_project(pool, wanted.project_id).await?,
    };
    if links.iter().any(|link| link.project_id != wanted.project_id) {
        // Another project's is as good as none: its existence is no business of this one.
        return Err(unknown_link(wanted.external_system_link_id.unwrap_or_default()));
    }
    // Spaces around a key came with copying it.
    let key = wanted.key.trim();
    let asked =
        join_all(links.iter().map(|link| async move { trackers.connect(&link.connection)?.find_by_key(key).await }));
    let answers: Vec<Result<Found, TrackerError>> = asked.await;
    let mut found: Vec<(ExternalSystemLink, Ticket)> = Vec::new();
    let (mut elsewhere, mut nowhere) = (Vec::new(), Vec::new());
    for (link, answer) in links.into_iter().zip(answers) {
        let ticket = match answer? {
            Found::Here(ticket) => ticket,
            Found::Elsewhere(_) => {
                elsewhere.push(link);
                continue;
            }
            Found::Nowhere => {
                nowhere.push(link);
                continue;
            }
        };
        // Two connections to one tracker may both see it.
        let same = |other: &(ExternalSystemLink, Ticket)| {
            other.0.connection.system_id == link.connection.system_id && other.1.url == ticket.url
        };
        if !found.iter().any(same) {
            found.push((link, ticket));
        }
    }
    match found.len() {
        1 => found.pop().ok_or(Refusal::Host("one is one")),
        0 => Err(Refusal::Impossible(
            TICKET_NOT_FOUND,
            match elsewhere.first() {
                Some(link) => in_another_project(&shown(wanted.key), link),
                None => not_found(wanted, &nowhere),
            },
        )),
        _ => {
            let places: Vec<String> = found.iter().map(|(link, _)| format!("{} ({})", link.id, link.name)).collect();
            let detail = format!(
                "Several external systems have a ticket {}; choose one with ExternalSystemLinkId, one of: {}.",
                shown(wanted.key),
                places.join(", ")
            );
            Err(Refusal::Impossible(AMBIGUOUS_TICKET_KEY, detail))
        }
    }
}

fn not_found(wanted: &Wanted<'_>, asked: &[ExternalSystemLink]) -> String {
    let place = match wanted.external_system_link_id {
        Some(id) => format!("the tracker of external system link {id}"),
        None if asked.is_empty() => {
            return format!(
                "Project {} is not connected to a tracker, so there is no ticket to find.",
                wanted.project_id
            );
        }
        None => format!("any tracker that project {} is connected to", wanted.project_id),
    };
    let limits: Vec<String> =
        asked.iter().filter_map(|link| Some(format!("'{}'", link.connection.remote_project.as_ref()?))).collect();
    let limits = if limits.is_empty() {
        String::new()
    } else {
        format!(", and RemoteProject: the search was limited to {}", limits.join(", "))
    };
    format!("There is no ticket {} in {place}; check Key{limits}.", shown(wanted.key))
}

/// Which other one is the tracker's business: the connection does not show it.
fn in_another_project(ticket: &str, link: &ExternalSystemLink) -> String {
    format!(
        "The ticket {ticket} is in another of the tracker's projects than '{}', which external system link {} ({}) is \
         limited to: check RemoteProject of that link. It may also have been moved.",
        link.connection.remote_project.as_deref().unwrap_or_default(),
        link.id,
        link.name
    )
}

/// What a client sent may be long; an answer need not repeat all of it.
fn shown(key: &str) -> String {
    format!("'{}'", key.chars().take(100).collect::<String>())
}

/// The ticket with this internal id in the tracker of this connection.
pub(crate) async fn ticket_by_id(
    trackers: &Trackers,
    link: &ExternalSystemLink,
    ticket_id: &str,
) -> Result<Ticket, Refusal> {
    let detail = match trackers.connect(&link.connection)?.find_by_id(ticket_id).await? {
        Found::Here(ticket) => return Ok(ticket),
        Found::Elsewhere(_) => in_another_project(&format!("with the id {}", shown(ticket_id)), link),
        Found::Nowhere => {
            format!("There is no ticket with the id {} in {}; check TicketId.", shown(ticket_id), link.name)
        }
    };
    Err(Refusal::Impossible(TICKET_NOT_FOUND, detail))
}

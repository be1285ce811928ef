//! Entities made up from a seed.

use std::fmt::Write;

use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng;
use uuid::{Builder, Uuid};

/// The entities of one made-up project. What number `n` is like depends on the
/// seed and `n` alone, whatever was made before it: a run that was interrupted
/// goes on with the same project.
#[derive(Debug, Clone)]
pub(crate) struct Synthetic {
    project_id: Uuid,
    seed: u32,
    relationships: u8,
}

/// Rows in COPY's text format: columns between tabs, one row a line.
#[derive(Debug, Clone)]
pub(crate) struct Rows<'a> {
    synthetic: &'a Synthetic,
    pub(crate) entity_rows: String,
    pub(crate) relationship_rows: String,
    pub(crate) relationships: i64,
}

/// A kind of entity: the beginning of its keys, how it is related to others, how
/// many of 100 are of it.
struct Kind {
    name: &'static str,
    key: &'static str,
    relation: &'static str,
    share: u32,
}

const KINDS: [Kind; 5] = [
    Kind { name: "Requirement", key: "REQ", relation: "DependsOn", share: 25 },
    Kind { name: "Script", key: "TST", relation: "Covers", share: 35 },
    Kind { name: "Assignment", key: "ASG", relation: "Executes", share: 15 },
    Kind { name: "Result", key: "RES", relation: "ResultOf", share: 15 },
    Kind { name: "Incident", key: "INC", relation: "FoundBy", share: 10 },
];

/// Related entities are among this many before.
const REACH: i64 = 1_000;

impl Synthetic {
    pub(crate) fn new(project_id: Uuid, seed: u32, relationships: u8) -> Self {
        Self { project_id, seed, relationships }
    }

    pub(crate) fn batch(&self) -> Rows<'_> {
        Rows { synthetic: self, entity_rows: String::new(), relationship_rows: String::new(), relationships: 0 }
    }

    /// A UUIDv8 (RFC 9562): half of the project's id, then the number, so that
    /// ids grow and rows go to the right edge of every index.
    fn id(&self, number: i64) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.project_id.as_bytes()[8..]);
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Builder::from_custom_bytes(bytes).into_uuid()
    }
}

impl Rows<'_> {
    /// Adds number `number`, counted from 1, and its relationships to earlier
    /// ones.
    pub(crate) fn add(&mut self, number: i64) {
        let Self { synthetic, .. } = *self;
        let mut random = Random(Pcg32::new(u64::from(synthetic.seed), number.unsigned_abs()));
        let kind = random.kind();
        let id = synthetic.id(number);
        let row = &mut self.entity_rows;
        // Words have neither tabs, breaks, quotes nor backslashes: nothing to escape.
        let written = write!(row, "{id}\t{}\t{}\t{}-{number}\t", synthetic.project_id, kind.name, kind.key);
        debug_assert!(written.is_ok(), "a String takes everything");
        random.name(row);
        row.push_str("\t{\"Description\": \"");
        let sentences = 1 + random.below(3);
        for sentence in 0..sentences {
            if sentence > 0 {
                row.push(' ');
            }
            random.sentence(row);
        }
        row.push_str("\", \"Status\": \"");
        row.push_str(random.pick(&STATUS));
        row.push_str("\", \"Priority\": \"");
        row.push_str(random.pick(&PRIORITY));
        row.push_str("\", \"Area\": \"");
        row.push_str(random.pick(&NOUNS));
        row.push_str("\"}\n");

        // Distinct: each is further back than the one before.
        let mut other = number;
        for nth in 0..i64::from(synthetic.relationships) {
            let left = i64::from(synthetic.relationships) - nth;
            let room = REACH.min(number - 1) - (number - other);
            if room < 1 {
                break;
            }
            let reach = (room / left).max(1);
            other -= 1 + i64::from(random.below(u32::try_from(reach).unwrap_or(1)));
            let target = synthetic.id(other);
            let written = writeln!(self.relationship_rows, "{id}\t{target}\t{}", kind.relation);
            debug_assert!(written.is_ok(), "a String takes everything");
            self.relationships += 1;
        }
    }
}

/// A generator whose numbers are the same in every release and on every
/// machine, as [`Pcg32`] promises.
struct Random(Pcg32);

impl Random {
    /// 0 to `bound` - 1.
    fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u32) as usize]
    }

    fn kind(&mut self) -> &'static Kind {
        let mut place = self.below(KINDS.iter().map(|kind| kind.share).sum());
        for kind in &KINDS {
            if place < kind.share {
                return kind;
            }
            place -= kind.share;
        }
        &KINDS[0]
    }

    fn name(&mut self, out: &mut String) {
        capital(out, self.pick(&VERBS));
        for words in [&ADJECTIVES[..], &NOUNS, &PLACES] {
            out.push(' ');
            out.push_str(self.pick(words));
        }
    }

    fn sentence(&mut self, out: &mut String) {
        capital(out, self.pick(&OPENINGS));
        for words in [&ADJECTIVES[..], &NOUNS, &MODALS, &VERBS, &ADJECTIVES, &NOUNS, &PLACES] {
            out.push(' ');
            out.push_str(self.pick(words));
        }
        out.push('.');
    }
}

fn capital(out: &mut String, word: &str) {
    let (first, rest) = word.split_at(1);
    out.extend(first.chars().map(|letter| letter.to_ascii_uppercase()));
    out.push_str(rest);
}

const STATUS: [&str; 5] = ["Draft", "Ready", "Approved", "Rejected", "Retired"];
const PRIORITY: [&str; 4] = ["Low", "Medium", "High", "Critical"];

const OPENINGS: [&str; 16] = [
    "the",
    "every",
    "any",
    "each",
    "no",
    "when the",
    "once the",
    "after the",
    "before the",
    "unless the",
    "while the",
    "if the",
    "because the",
    "although the",
    "as soon as the",
    "whenever the",
];

const MODALS: [&str; 14] = [
    "must",
    "should",
    "may",
    "can",
    "will",
    "must not",
    "should not",
    "has to",
    "is able to",
    "is expected to",
    "fails to",
    "refuses to",
    "begins to",
    "continues to",
];

const VERBS: [&str; 48] = [
    "accept",
    "archive",
    "assign",
    "calculate",
    "cancel",
    "charge",
    "close",
    "collect",
    "compare",
    "confirm",
    "convert",
    "count",
    "deliver",
    "display",
    "encrypt",
    "estimate",
    "export",
    "filter",
    "forward",
    "group",
    "hide",
    "highlight",
    "import",
    "install",
    "limit",
    "list",
    "lock",
    "measure",
    "merge",
    "notify",
    "order",
    "print",
    "publish",
    "record",
    "reject",
    "rename",
    "repeat",
    "replace",
    "restore",
    "round",
    "schedule",
    "send",
    "sort",
    "split",
    "store",
    "unlock",
    "validate",
    "verify",
];

const ADJECTIVES: [&str; 64] = [
    "accurate",
    "active",
    "alternative",
    "annual",
    "anonymous",
    "archived",
    "automatic",
    "available",
    "blank",
    "broken",
    "cached",
    "central",
    "common",
    "complete",
    "conditional",
    "confidential",
    "correct",
    "current",
    "custom",
    "daily",
    "damaged",
    "default",
    "delayed",
    "deleted",
    "detailed",
    "distant",
    "double",
    "duplicate",
    "early",
    "electronic",
    "empty",
    "encrypted",
    "external",
    "final",
    "foreign",
    "frequent",
    "hidden",
    "incomplete",
    "internal",
    "invalid",
    "late",
    "local",
    "mandatory",
    "manual",
    "missing",
    "monthly",
    "narrow",
    "obsolete",
    "optional",
    "overdue",
    "partial",
    "pending",
    "permanent",
    "private",
    "public",
    "recent",
    "remote",
    "secure",
    "shared",
    "silent",
    "temporary",
    "unpaid",
    "valid",
    "weekly",
];

const NOUNS: [&str; 96] = [
    "account",
    "address",
    "agreement",
    "alarm",
    "amount",
    "answer",
    "application",
    "appointment",
    "approval",
    "archive",
    "attachment",
    "balance",
    "barcode",
    "basket",
    "booking",
    "branch",
    "budget",
    "button",
    "calendar",
    "campaign",
    "card",
    "catalogue",
    "certificate",
    "channel",
    "claim",
    "clerk",
    "column",
    "comment",
    "contract",
    "cookie",
    "country",
    "coupon",
    "courier",
    "currency",
    "customer",
    "dashboard",
    "deadline",
    "delivery",
    "department",
    "deposit",
    "device",
    "dialog",
    "discount",
    "document",
    "driver",
    "email",
    "employee",
    "expense",
    "factory",
    "family",
    "folder",
    "forecast",
    "gateway",
    "guest",
    "holiday",
    "insurance",
    "invoice",
    "keyboard",
    "label",
    "language",
    "letter",
    "licence",
    "location",
    "manager",
    "message",
    "mortgage",
    "network",
    "notice",
    "office",
    "order",
    "package",
    "partner",
    "passenger",
    "password",
    "payment",
    "picture",
    "policy",
    "portal",
    "price",
    "printer",
    "product",
    "profile",
    "receipt",
    "refund",
    "region",
    "report",
    "salary",
    "schedule",
    "shipment",
    "signature",
    "statement",
    "supplier",
    "survey",
    "ticket",
    "timetable",
    "warehouse",
];

const PLACES: [&str; 32] = [
    "above the limit",
    "after a restart",
    "after midnight",
    "at the counter",
    "at the weekend",
    "before the audit",
    "behind the firewall",
    "below the threshold",
    "between two branches",
    "by telephone",
    "during the holidays",
    "during the night",
    "for new members",
    "from a mobile device",
    "in another currency",
    "in the archive",
    "in the background",
    "in the main menu",
    "in the test environment",
    "on a small screen",
    "on a slow line",
    "on the first day",
    "on the last page",
    "over the network",
    "through the gateway",
    "under heavy load",
    "with a screen reader",
    "with an expired licence",
    "with two users",
    "within one minute",
    "without a warning",
    "without permission",
];

#[cfg(test)]
mod tests {
    use super::Synthetic;
    use serde_json::Value;
    use std::collections::HashSet;
    use uuid::{Uuid, uuid};

    const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

    fn made(seed: u32, numbers: impl Iterator<Item = i64>) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
        let synthetic = Synthetic::new(PROJECT, seed, 3);
        let mut rows = synthetic.batch();
        numbers.for_each(|number| rows.add(number));
        let table = |text: &str| text.lines().map(|row| row.split('\t').map(str::to_owned).collect()).collect();
        (table(&rows.entity_rows), table(&rows.relationship_rows))
    }

    #[test]
    fn an_entity_depends_on_the_seed_and_its_number_alone() {
        let whole = made(7, 1..=200).0;
        let apart: Vec<_> = [1..=99, 100..=200].into_iter().flat_map(|numbers| made(7, numbers).0).collect();
        assert_eq!(whole, apart);
        assert_ne!(whole, made(8, 1..=200).0);
    }

    #[test]
    fn ids_grow_and_rows_need_no_escaping() {
        let (entities, _) = made(1, 1..=3_000);
        let ids: Vec<Uuid> = entities.iter().map(|row| row[0].parse().expect("a guid")).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        for row in &entities {
            assert_eq!(row.len(), 6, "{row:?}");
            assert!(row.iter().all(|cell| !cell.contains('\\')), "{row:?}");
            let fields: Value = serde_json::from_str(&row[5]).expect("JSON");
            assert!(fields["Description"].as_str().is_some_and(|text| text.ends_with('.')));
        }
        assert_eq!(entities.iter().map(|row| row[2].as_str()).collect::<HashSet<_>>().len(), 5, "every kind");
    }

    #[test]
    fn relationships_point_at_different_earlier_entities() {
        let (entities, relationships) = made(1, 1..=3_000);
        let known: HashSet<&str> = entities.iter().map(|row| row[0].as_str()).collect();
        assert!(relationships.iter().all(|row| row[1] < row[0] && known.contains(row[1].as_str())));
        let pairs: HashSet<_> = relationships.iter().collect();
        assert_eq!(pairs.len(), relationships.len());
        // The first three have fewer before them.
        assert_eq!(relationships.len(), 3_000 * 3 - 3 - 2 - 1);
    }
}

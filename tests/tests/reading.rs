//! Whatever bytes a request has, reading them ends in an answer: no panic, no 500. The
//! same entry is fuzzed with coverage by `fuzz/run`.

use longhaul_tests::shipped;
use std::sync::LazyLock;

use chrono::DateTime;
use longhaul::actix_web::ResponseError;
use longhaul_api::{ApiError, read_as_request};
use longhaul_model::Registry;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// What the mutations begin with: requests of every kind, one a line.
static SEEDS: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("../../fuzz/seeds/request").lines().collect());

const LIMIT: usize = 64 * 1024;

fn holds(registry: &Registry, body: &[u8]) -> bool {
    let fine =
        |result: &Result<(), ApiError>| result.as_ref().err().is_none_or(|error| error.status_code().as_u16() < 500);
    let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    let read = read_as_request(registry, LIMIT, body, now);
    assert!(read.iter().all(fine), "{:?}: {read:?}", String::from_utf8_lossy(body));
    read.iter().any(Result::is_ok)
}

/// One change of the kind that fuzzers make.
fn mutate(random: &mut Pcg64, body: &mut Vec<u8>) {
    const TOKENS: [&str; 14] =
        ["{", "}", "[", "]", ",", ":", "\"", "null", "true", "1e999", "-", "\\u0000", "\\ud800", "\"Type\":"];
    let at = random.random_range(0..=body.len());
    match random.random_range(0..6) {
        0 if at < body.len() => body[at] ^= 1 << random.random_range(0..8),
        1 if at < body.len() => drop(body.remove(at)),
        2 => body.insert(at, random.random()),
        3 => {
            let token = TOKENS[random.random_range(0..TOKENS.len())];
            body.splice(at..at, token.bytes());
        }
        4 => {
            let other = SEEDS[random.random_range(0..SEEDS.len())].as_bytes();
            let from = random.random_range(0..other.len());
            let to = random.random_range(from..=other.len());
            body.splice(at..at, other[from..to].iter().copied());
        }
        _ => body.truncate(at.max(1)),
    }
    body.truncate(LIMIT);
}

#[test]
fn bytes_of_any_kind_are_read_without_panic_and_without_500() {
    let registry = shipped::registry();
    let mut random = Pcg64::seed_from_u64(20_261_124);
    let mut taken = 0;
    for seed in SEEDS.iter() {
        taken += u32::from(holds(&registry, seed.as_bytes()));
    }
    assert!(taken >= 5, "the seeds are requests: {taken}");
    for round in 0..20_000 {
        let mut body = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..random.random_range(1..8) {
            mutate(&mut random, &mut body);
        }
        holds(&registry, &body);
    }
    for _ in 0..5_000 {
        let length = random.random_range(0..200);
        let body: Vec<u8> = (0..length).map(|_| random.random()).collect();
        holds(&registry, &body);
    }
}

proptest::proptest! {
    #[test]
    fn json_of_any_shape_is_read_without_panic_and_without_500(text in r#"(\{|\[|"Type":|"Parameters":|"Tasks":|"Map":|"After":|"Parent":|"Reindex"|null|1|,|\}|\]){0,40}"#) {
        holds(&shipped::registry(), text.as_bytes());
    }
}

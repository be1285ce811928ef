//! What answers must not tell is not told by the time that they take either. Requests of
//! two kinds are sent in turns by one client on loopback, and the times compared.

use std::hint::black_box;
use std::time::{Duration, Instant};

use longhaul_api::access::secret::{Hasher, Secret};
use longhaul_tests::{SERVER_SECRET, Someone, Stage, keys_only, make_key, shipped};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// So many of each kind are compared.
const SAMPLES: usize = 3_000;
/// The share of guesses that are right when one guesses by the time, at most: half of them
/// are by chance.
const GUESSED: f64 = 0.56;

/// A connection that is kept.
struct Client {
    stream: TcpStream,
}

impl Client {
    async fn at(stage: &Stage) -> Self {
        let stream = TcpStream::connect(stage.base_url.trim_start_matches("http://")).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self { stream }
    }

    /// The status of an answer, and how long it took until all of it was there.
    async fn time(&mut self, request: &[u8]) -> (u16, Duration) {
        let (began, mut answer, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
        self.stream.write_all(request).await.expect("sent");
        loop {
            let read = self.stream.read(&mut buffer).await.expect("an answer");
            assert!(read > 0, "the connection is kept");
            answer.extend_from_slice(&buffer[..read]);
            let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if answer.len() - head - 4 == length.unwrap_or(0) {
                let elapsed = began.elapsed();
                return (text[9..12].parse().expect("a status"), elapsed);
            }
        }
    }
}

/// How two kinds of times differ.
#[derive(Debug)]
struct Compared {
    medians: [f64; 2],
    /// The chance that one of the first kind took less than one of the second
    /// (Mann and Whitney's U as a share).
    less: f64,
    /// How many guesses are right by the best bound between "first" and "second".
    guessed: f64,
}

fn compare(times: &[Vec<f64>; 2]) -> Compared {
    let median = |times: &Vec<f64>| {
        let mut sorted = times.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let mut all: Vec<(f64, usize)> =
        times.iter().enumerate().flat_map(|(kind, times)| times.iter().map(move |time| (*time, kind))).collect();
    all.sort_by(|left, right| left.0.total_cmp(&right.0));
    let total = all.len() as f64;
    let (mut seen, mut pairs, mut best) = ([0.0_f64; 2], 0.0, 0.5_f64);
    for (_, kind) in &all {
        if *kind == 1 {
            pairs += seen[0];
        }
        seen[*kind] += 1.0;
        // "What took no longer is of the first kind", or the other way round.
        let right = (seen[0] + times[1].len() as f64 - seen[1]) / total;
        best = best.max(right).max(1.0 - right);
    }
    Compared {
        medians: [median(&times[0]), median(&times[1])],
        less: pairs / (times[0].len() as f64 * times[1].len() as f64),
        guessed: best,
    }
}

/// Sends both in turns, the order of each pair by chance. Each is a list, gone through
/// again and again.
async fn apart(stage: &Stage, what: &str, status: u16, kinds: [Vec<String>; 2]) -> Compared {
    let (mut client, mut random) = (Client::at(stage).await, Pcg64::seed_from_u64(6));
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..SAMPLES + 300 {
        let first = random.random_range(0..2);
        for kind in [first, 1 - first] {
            let request = &kinds[kind][round % kinds[kind].len()];
            let (answered, time) = client.time(request.as_bytes()).await;
            assert_eq!(answered, status, "{request}");
            // The first ones warm up caches and plans.
            if round >= 300 {
                times[kind].push(time.as_secs_f64() * 1e6);
            }
        }
    }
    let compared = compare(&times);
    println!(
        "{what}: medians {:.1} and {:.1} µs, U {:.3}, {:.1} % guessed by the best bound, {SAMPLES} of each",
        compared.medians[0],
        compared.medians[1],
        compared.less,
        compared.guessed * 100.0
    );
    compared
}

fn request(key: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n")
}

#[tokio::test]
async fn the_time_does_not_tell_a_task_of_someone_else_from_one_that_is_not_there() {
    let stage = Stage::builder(shipped::registry()).authenticators(keys_only).start().await;
    let owner = stage.someone("owner", &["Administration/SearchIndex/Rebuild"]).await;
    let start = async |owner: &Someone<'_>| owner.started(&json!({"Type": "Reindex"})).await;
    let (mut there, mut never) = (Vec::new(), Vec::new());
    let stranger = make_key(&stage.pool, "stranger", &[], None, Some(SERVER_SECRET)).await;
    for _ in 0..20 {
        let task = start(&owner).await;
        // An id of the same moment.
        let guid: Uuid = task[task.len() - 36..].parse().expect("a guid");
        let other = Uuid::from_u128(guid.as_u128() ^ 0xffff);
        never.push(request(stranger.expose(), &task.replace(&guid.to_string(), &other.to_string())));
        there.push(request(stranger.expose(), &task));
    }
    for rest in ["", "/log"] {
        let of = |requests: &[String]| -> Vec<String> {
            requests.iter().map(|request| request.replace(" HTTP/1.1", &format!("{rest} HTTP/1.1"))).collect()
        };
        let compared =
            apart(&stage, &format!("a task{rest}, not there and not shown"), 404, [of(&never), of(&there)]).await;
        assert!(compared.guessed <= GUESSED, "{compared:?}");
    }
}

/// With the six characters at the end that a key must have to be looked for at all:
/// CRC-32 in base 62.
fn with_checksum(body: &str) -> Secret {
    let crc = !body.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let sum: String = (0..6).rev().map(|place| digits[crc as usize / 62_usize.pow(place) % 62] as char).collect();
    Secret::read(&format!("{body}{sum}")).expect("the form of a key")
}

#[tokio::test]
async fn the_time_does_not_tell_how_much_of_a_key_is_right() {
    let stage = Stage::builder(shipped::registry()).authenticators(keys_only).start().await;
    let right = make_key(&stage.pool, "owner", &[], None, Some(SERVER_SECRET)).await;
    let (hasher, other) = (Hasher::new(Some(SERVER_SECRET)), Secret::generate().expect("randomness"));
    // The hash that is compared, wrong in the first byte and in the last.
    let hash = hasher.hash(&right);
    let wrong = [0, 31].map(|at| {
        let mut hash = hash;
        hash[at] ^= 1;
        hash
    });
    let (mut times, mut random) = ([Vec::new(), Vec::new()], Pcg64::seed_from_u64(6));
    for round in 0..SAMPLES + 300 {
        let first = random.random_range(0..2);
        for kind in [first, 1 - first] {
            let began = Instant::now();
            for _ in 0..20 {
                assert!(!hasher.matches(black_box(&right), black_box(&wrong[kind])));
            }
            if round >= 300 {
                times[kind].push(began.elapsed().as_secs_f64() * 1e6 / 20.0);
            }
        }
    }
    let compared = compare(&times);
    println!("a hash wrong in its first and in its last byte: {compared:?}");
    assert!(compared.guessed <= GUESSED, "{compared:?}");
    assert!(!hasher.matches(&other, &hash));

    // Over HTTP: with the first byte of chance wrong, and with the last one.
    let text = right.expose();
    let keys = [14, 56].map(|at| {
        let mut body = text[..text.len() - 6].to_owned().into_bytes();
        body[at] = if body[at] == b'x' { b'y' } else { b'x' };
        with_checksum(&String::from_utf8(body).expect("ASCII"))
    });
    let requests = keys.map(|key| vec![request(key.expose(), "/api/queues")]);
    let compared = apart(&stage, "a key wrong at its beginning and at its end", 401, requests).await;
    assert!(compared.guessed <= GUESSED, "{compared:?}");
}

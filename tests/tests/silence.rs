//! For how long a worker has been silent: only while others looked (docs/architecture.md).

use std::time::Duration;

use longhaul_model::store::rescue::rescue;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_tests::Stage;

/// As on a machine with too much to do: a look is late again and again.
#[tokio::test]
async fn late_looks_put_off_what_a_dead_worker_left_but_not_for_ever() {
    let stage = Stage::new().await;
    let heartbeat = Duration::from_secs(1);
    let info = WorkerInfo { name: "dead".to_owned(), version: "0".to_owned(), queues: Vec::new(), slots: 1, heartbeat };
    let dead = register(&stage.pool, &info).await.expect("an id");
    let cycle = [heartbeat * 6 / 10, heartbeat / 4, heartbeat / 4, heartbeat / 4];
    let mut late_looks = 0;
    'looks: loop {
        for pause in cycle {
            tokio::time::sleep(pause).await;
            if rescue(&stage.pool).await.expect("a rescue").workers == [dead] {
                break 'looks;
            }
        }
        late_looks += 1;
        assert!(late_looks < 60, "nobody notices");
    }
    assert!(late_looks >= 1, "the time that nobody looked counts");
}

#[tokio::test]
async fn a_dead_worker_is_noticed_though_every_look_is_late() {
    let stage = Stage::new().await;
    let heartbeat = Duration::from_millis(200);
    let info = WorkerInfo { name: "dead".to_owned(), version: "0".to_owned(), queues: Vec::new(), slots: 1, heartbeat };
    let dead = register(&stage.pool, &info).await.expect("an id");
    let mut looks = 0;
    loop {
        tokio::time::sleep(heartbeat * 8 / 10).await;
        looks += 1;
        if rescue(&stage.pool).await.expect("a rescue").workers == [dead] {
            break;
        }
        assert!(looks < 20, "nobody notices");
    }
    assert!(looks > 8, "one late look, or a few, are no silence: {looks}");
}

/// `longhaul.silence` of a beat at second 0, at second `now`, with gaps.
async fn silence(stage: &Stage, now: u32, gaps: &[(u32, u32)]) -> f64 {
    let second = |at: u32| format!("'2026-01-01'::timestamptz + {at} * interval '1 s'");
    let gaps: Vec<_> = gaps.iter().map(|(from, to)| format!("tstzrange({}, {})", second(*from), second(*to))).collect();
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "SELECT extract(epoch FROM longhaul.silence({}, {}, tstzmultirange({})))::float8",
        second(0),
        second(now),
        gaps.join(", ")
    )))
    .fetch_one(&stage.pool)
    .await
    .expect("an answer")
}

#[tokio::test]
async fn a_gap_is_no_silence_and_a_long_one_gives_all_the_time_again() {
    let stage = Stage::new().await;
    for (now, gaps, expected) in [
        (4, &[][..], 4.0),
        // Of an outage nothing counts, nor what was before it.
        (19, &[(4, 18)], 1.0),
        // A short gap forgives half of its length.
        (10, &[(4, 6)], 7.0),
        (10, &[(1, 2), (3, 4), (5, 6)], 5.5),
        // What ended before the beat does not matter, nor what is to come.
        (0, &[(1, 2)], 0.0),
    ] {
        let is = silence(&stage, now, gaps).await;
        assert!((is - expected).abs() < 0.001, "{now} s, {gaps:?}: {is}");
    }
}

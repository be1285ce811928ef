//! Every statement that the API or a worker sends meets a fault. The first, second and third time, it does
//! not reach the server, or its answer is lost; the first time, the server refuses it. Every accepted
//! task ends as it should, once.

mod act;
mod scene;

use longhaul_tests::Fault;

use self::scene::{Round, stage};

/// One error of each class that passes by itself (docs/reliability.md).
const ERRORS: [&str; 5] = ["40001", "40P01", "53300", "55P03", "57014"];

/// A round in which statements meet a fault, also those with which the worker stops.
async fn round(round: &Round<'_>, time: u32, fault: Fault) {
    let statements = round.proxy().statements();
    let worker = round.worker("at work").await;
    statements.plan(time, fault);
    round.play().await;
    round.play_a_last_one().await;
    let mut struck = statements.struck();
    statements.plan(time, fault);
    worker.stop().await;
    struck.extend(statements.struck());
    statements.spare_all();
    let next = round.worker("after it").await;
    round.all_end().await;
    next.stop().await;
    round.is_right().await;
    assert!(struck.len() > 20, "{struck:#?}");
}

async fn all_at_once(fault: Fault) {
    let stage = stage().await;
    for time in 1..=3 {
        round(&Round::new(&stage, &format!("round-{time}")), time, fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_ends_well_if_each_statement_is_lost_on_its_way() {
    all_at_once(Fault::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_ends_well_if_the_answer_to_each_statement_is_lost() {
    all_at_once(Fault::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_ends_well_if_each_statement_is_refused_for_a_while() {
    let stage = stage().await;
    for sqlstate in ERRORS {
        let name = format!("round-{sqlstate}");
        round(&Round::new(&stage, &name), 1, Fault::Error(sqlstate)).await;
    }
}

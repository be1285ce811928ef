//! How each kind of fault is done, and undone.

use std::time::{Duration, Instant};

use longhaul::sqlx;

use crate::fleet::Fleet;
use crate::plan::{Fault, Kind};

/// Does the fault from beginning to end.
pub(crate) async fn carry_out(fleet: &Fleet, fault: &Fault) -> anyhow::Result<()> {
    let length = Duration::from_secs_f64(fault.seconds);
    let pick = |count: usize| (fault.choice % count as u64) as usize;
    let worker = &fleet.workers()[pick(fleet.workers().len())];
    let api = &fleet.apis()[pick(fleet.apis().len())];
    // One of the processes, or all of them.
    let hit = pick(fleet.members.len() + 1);
    let ways = || fleet.members.iter().enumerate().filter(move |(n, _)| hit == fleet.members.len() || hit == *n);
    match fault.kind {
        Kind::KillWorker => worker.kill(length).await,
        Kind::KillApi => api.kill(length).await,
        Kind::FreezeWorker | Kind::FreezeApi => {
            let member = if fault.kind == Kind::FreezeApi { api } else { worker };
            member.signal("-STOP").await?;
            tokio::time::sleep(length).await;
            member.signal("-CONT").await
        }
        Kind::TerminateSessions => {
            again_and_again(length, async || sessions(fleet, "pg_terminate_backend", "random() < 0.2").await).await
        }
        Kind::CancelStatements => {
            again_and_again(length, async || sessions(fleet, "pg_cancel_backend", "state = 'active'").await).await
        }
        Kind::KillListeners => sessions(fleet, "pg_terminate_backend", "query ILIKE 'LISTEN%'").await,
        Kind::CrashServer => {
            let mut server = fleet.server.lock().await;
            server.halt_immediate().await?;
            tokio::time::sleep(length).await;
            Ok(server.resume().await?)
        }
        Kind::CutConnections => {
            again_and_again(length, async || {
                ways().for_each(|(_, member)| member.proxy.cut_existing());
                Ok(())
            })
            .await
        }
        Kind::DelayConnections => {
            ways().for_each(|(_, member)| member.proxy.delay(Duration::from_millis(20 + fault.choice % 300)));
            tokio::time::sleep(length).await;
            fleet.members.iter().for_each(|member| member.proxy.delay(Duration::ZERO));
            Ok(())
        }
        Kind::SilenceConnections => {
            ways().for_each(|(_, member)| member.proxy.silence_existing());
            Ok(())
        }
        Kind::SwallowAll => {
            let until = Instant::now() + length;
            while Instant::now() < until {
                ways().for_each(|(_, member)| member.proxy.silence_existing());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        }
        Kind::ShortTimeouts => short_timeouts(fleet, length, fault.choice).await,
        Kind::OperatorLocks => operator_locks(fleet, length, fault.choice).await,
        Kind::Storm => storm(fleet, length, fault.choice).await,
        Kind::RollingRestart => {
            for member in &fleet.members {
                member.replace().await?;
            }
            Ok(())
        }
    }
}

async fn again_and_again(length: Duration, mut work: impl AsyncFnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let until = Instant::now() + length;
    loop {
        work().await?;
        if Instant::now() >= until {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Does this to the sessions of API and workers that fit.
async fn sessions(fleet: &Fleet, what: &str, which: &str) -> anyhow::Result<()> {
    fleet
        .execute(&format!(
            "SELECT {what}(pid) FROM pg_stat_activity WHERE usename LIKE 'test\\_longhaul\\_%' AND {which}"
        ))
        .await?;
    Ok(())
}

/// For new sessions, so the old ones are ended before and after.
async fn short_timeouts(fleet: &Fleet, length: Duration, choice: u64) -> anyhow::Result<()> {
    let roles = ["test_longhaul_api", "test_longhaul_worker"];
    let (setting, value) = [("statement_timeout", "30ms"), ("lock_timeout", "5ms")][(choice % 2) as usize];
    for role in roles {
        fleet.execute(&format!("ALTER ROLE {role} SET {setting} = '{value}'")).await?;
    }
    sessions(fleet, "pg_terminate_backend", "true").await?;
    tokio::time::sleep(length).await;
    for role in roles {
        fleet.execute(&format!("ALTER ROLE {role} RESET {setting}")).await?;
    }
    sessions(fleet, "pg_terminate_backend", "true").await
}

/// A transaction of someone who has locked something and thinks.
async fn operator_locks(fleet: &Fleet, length: Duration, choice: u64) -> anyhow::Result<()> {
    let locks = [
        "LOCK TABLE longhaul.ready IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE longhaul.lease IN SHARE ROW EXCLUSIVE MODE",
        "LOCK TABLE longhaul.scheduled IN EXCLUSIVE MODE",
        "LOCK TABLE longhaul.task IN SHARE MODE",
        "SELECT FROM longhaul.lease FOR UPDATE",
        "SELECT FROM longhaul.task WHERE finished_at IS NULL FOR UPDATE",
        "SELECT FROM longhaul.admitted FOR UPDATE",
        "SELECT FROM longhaul.family FOR UPDATE",
        "SELECT FROM longhaul.task_key FOR UPDATE",
    ];
    let lock = locks[(choice % locks.len() as u64) as usize];
    let mut transaction = fleet.admin.begin().await?;
    if let Err(error) = sqlx::raw_sql(lock).execute(&mut *transaction).await {
        println!("the operator got no lock: {error}");
    }
    tokio::time::sleep(length).await;
    transaction.rollback().await?;
    Ok(())
}

/// Settings change all the time; at the end they are as at the beginning.
async fn storm(fleet: &Fleet, length: Duration, choice: u64) -> anyhow::Result<()> {
    let mut number = choice % 1_000;
    again_and_again(length, async || {
        number += 1;
        let sql = match number % 6 {
            0 => "SELECT longhaul.set_queue('limited', paused => true, max_running => 3)",
            1 => "SELECT longhaul.set_queue('turns', fair => true, max_per_key => 1, max_running => 4)",
            2 => "SELECT longhaul.pause_type('Piece')",
            3 => "SELECT longhaul.pause_type('Piece', false)",
            4 => "SELECT longhaul.set_queue('soak', max_running => 20)",
            _ => "SELECT longhaul.set_queue('soak', paused => true)",
        };
        if let Err(error) = fleet.execute(sql).await {
            println!("{sql}: {error}");
        }
        Ok(())
    })
    .await?;
    settings(fleet).await
}

/// What the fleet's queues are set to.
const SETTINGS: [&str; 5] = [
    "SELECT longhaul.set_queue('limited', paused => false, max_running => 3)",
    "SELECT longhaul.set_queue('turns', fair => true, max_per_key => 1, max_running => NULL)",
    "SELECT longhaul.set_queue('rated', rate_count => 10, rate_seconds => 1)",
    "SELECT longhaul.set_queue('soak', paused => false, max_running => NULL)",
    "SELECT longhaul.pause_type('Piece', false)",
];

/// Sets the queues, once the database and the type are there.
pub(crate) async fn settings(fleet: &Fleet) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    for sql in SETTINGS {
        while let Err(error) = fleet.execute(sql).await {
            anyhow::ensure!(Instant::now() < until, "{sql}: {error}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

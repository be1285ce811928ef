//! Everything that can happen.

use crate::memory::Outcome;
use crate::state::{Id, Number};

/// A step. "Code" names what it stands for, by file and item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A claim has begun, and has seen whether the queue is gated.
    /// Code: `crates/model/src/store/claim.rs` `CLAIM`.
    ClaimLooks(usize),
    /// A worker claims what it has room for, and is answered.
    /// Code: `crates/worker/src/lane.rs` `claim`; `crates/model/src/store/claim.rs` `claim`.
    Claim(usize),
    /// A claim is carried out, and its answer is lost.
    /// Code: `crates/worker/src/lane.rs` `claim`.
    ClaimUnanswered(usize),
    /// The connection is cut before the claim is carried out; it may still be.
    /// Code: `crates/worker/src/lane.rs` `claim`.
    ClaimCut(usize),
    /// A worker settles a claim without an answer, before the next one.
    /// Code: `crates/model/src/store/rescue.rs` `release_lease`.
    GiveBack(usize),
    /// A handler is started.
    /// Code: `crates/worker/src/slots.rs` `start`.
    Start(usize, Id),
    /// The flusher writes what attempts have to say, and stops those whose lease is lost.
    /// Code: `crates/worker/src/flusher.rs` `run_once`; `crates/model/src/store/progress.rs` `flush`.
    Flush(usize),
    /// The flusher sends what attempts have to say, and that is carried out later, if at all.
    /// Code: `crates/worker/src/flusher.rs` `run_once`.
    FlushLate(usize),
    /// A handler ends.
    /// Code: `crates/worker/src/executor.rs` `outcome`.
    HandlerEnds(usize, Id, Outcome),
    /// A handler ends whose lease was lost: nothing is said of it.
    /// Code: `crates/worker/src/executor.rs` `outcome`; `crates/worker/src/leases.rs` `gave_up`.
    HandlerDropped(usize, Id),
    /// Last words are stored, before their end.
    /// Code: `crates/worker/src/finish_buffer.rs` `write_last_words`.
    Words(usize),
    /// The connection is cut before last words are stored; they may still be.
    /// Code: `crates/worker/src/finish_buffer.rs` `write_last_words`.
    WordsCut(usize),
    /// A worker stores all ends that it has.
    /// Code: `crates/worker/src/finish_buffer.rs` `write`; `crates/model/src/store/finish.rs` `finish`.
    Store(usize),
    /// They are stored, and the answer is lost.
    /// Code: `crates/worker/src/finish_buffer.rs` `write`.
    StoreUnanswered(usize),
    /// The connection is cut before they are stored; they may still be.
    /// Code: `crates/worker/src/finish_buffer.rs` `write`.
    StoreCut(usize),
    /// A statement that was given up is carried out in the server, or the next part of it.
    /// Code: `crates/model/src/store/deadline.rs` `within`.
    LateRuns(usize),
    /// A statement that was given up is not carried out.
    /// Code: `crates/model/src/store/deadline.rs` `within`.
    LateNever(usize),
    /// A scheduled task is due.
    /// Code: `crates/model/src/store/schedule.rs` `promote`.
    Promote(Id),
    /// The queue gets a limit of one task.
    /// Code: `migrations/current/functions/change_queue.sql` `change_queue`.
    CloseGate,
    /// The gatekeeper looks which claims may not know of the gate.
    /// Code: `migrations/current/functions/keep_gate.sql` `keep_gate`.
    GateLooks,
    /// It begins to count what is at work.
    /// Code: `migrations/current/functions/count_admitted.sql` `count_admitted`.
    CountBegins,
    /// The count is committed.
    /// Code: `migrations/current/functions/count_admitted.sql` `count_admitted`.
    Count,
    /// A later count removes what is neither admitted nor at work.
    /// Code: `migrations/current/functions/count_admitted.sql` `count_admitted`.
    CountAgain,
    /// A task is admitted.
    /// Code: `migrations/current/functions/keep_gate.sql` `keep_gate`.
    Admit(Id),
    /// Someone cancels a task.
    /// Code: `migrations/current/functions/cancel.sql` `cancel`.
    Cancel(Id),
    /// A running attempt is told that someone wants to cancel its task.
    /// Code: `crates/worker/src/maintenance/canceller.rs` `stop`.
    Tell(usize, Id),
    /// Someone retries a task: `longhaul.retry` strikes it from its lease if it is over.
    /// Code: `migrations/current/functions/retry_within.sql` `retry_within`.
    RetryBegins(Id),
    /// The rest of `longhaul.retry`, which has begun when the task was open.
    /// Code: `migrations/current/functions/retry_within.sql` `retry_within`.
    RetryEnds(Id),
    /// A process is frozen, or cut off.
    /// Code: `crates/worker/src/worker.rs` `Worker`.
    Freeze(usize),
    /// It goes on.
    /// Code: `crates/worker/src/worker.rs` `Worker`.
    GoOn(usize),
    /// A process is killed.
    /// Code: `crates/worker/src/worker.rs` `Worker`.
    Kill(usize),
    /// A worker was silent for too long.
    /// Code: `crates/model/src/store/rescue.rs` `PRESUME`.
    Presume(usize),
    /// A lease whose worker is not at work is taken, and its tasks are put back.
    /// Code: `crates/model/src/store/rescue.rs` `take_leases`; `crates/model/src/store/rescue.rs` `put_back`.
    Rescue(Number),
    /// A worker's heartbeat tells it that it was presumed dead: it registers anew.
    /// Code: `crates/worker/src/keeper.rs` `run_once`.
    Beat(usize),
    /// Its lane notices.
    /// Code: `crates/worker/src/lane.rs` `notice_new_identity`.
    Notice(usize),
    /// A worker compares its leases with what it holds.
    /// Code: `crates/worker/src/keeper.rs` `compare`; `crates/model/src/store/give_back.rs` `settle`.
    Compare(usize),
    /// A worker is told to stop: what has not begun goes back.
    /// Code: `crates/worker/src/slots.rs` `release_waiting`; `crates/worker/src/worker.rs` `drain`.
    Stop(usize),
    /// A worker that stops and has nothing left leaves.
    /// Code: `crates/worker/src/worker.rs` `leave`; `crates/model/src/store/worker.rs` `stop`.
    Leave(usize),
    /// A task is stored that waits for the first one.
    /// Code: `migrations/current/functions/follow_ends.sql` `follow_ends`.
    Depend,
    /// The follower acts upon the end of the first task.
    /// Code: `migrations/current/functions/follow_dependents.sql` `follow_dependents`.
    Follow,
}

impl Action {
    /// It comes by itself; it is no fault, and nobody's request. A frozen process need not go on.
    #[must_use]
    pub fn helps(self) -> bool {
        use Action::{
            Cancel, ClaimCut, ClaimUnanswered, CloseGate, Depend, FlushLate, Freeze, GoOn, Kill, RetryBegins, Stop,
            StoreCut, StoreUnanswered, WordsCut,
        };
        !matches!(
            self,
            ClaimUnanswered(_)
                | ClaimCut(_)
                | FlushLate(_)
                | WordsCut(_)
                | StoreUnanswered(_)
                | StoreCut(_)
                | Freeze(_)
                | GoOn(_)
                | Kill(_)
                | Cancel(_)
                | RetryBegins(_)
                | Stop(_)
                | CloseGate
                | Depend
        )
    }
}

-- What each role may do in schema longhaul (docs/database-roles.md). Run after every
-- migration, in one transaction, once all roles are there; so it says all of it.

REVOKE ALL ON ALL TABLES IN SCHEMA longhaul FROM longhaul_api, longhaul_worker, longhaul_reader, longhaul_tenant_reader;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA longhaul FROM longhaul_api, longhaul_worker, longhaul_reader, longhaul_tenant_reader;
GRANT USAGE ON SCHEMA longhaul TO longhaul_api, longhaul_worker, longhaul_reader, longhaul_tenant_reader;

-- People read words, not tables.
GRANT SELECT ON longhaul.tasks, longhaul.progress, longhaul.task_logs, longhaul.batches, longhaul.queues,
    longhaul.workers, longhaul.schedules, longhaul.set_aside_tasks, longhaul.failures, longhaul.succeeded, longhaul.task_tags TO longhaul_reader, longhaul_api, longhaul_worker;
GRANT EXECUTE ON FUNCTION longhaul.why(uuid) TO longhaul_reader, longhaul_api, longhaul_worker;
GRANT SELECT ON longhaul.tenant_tasks, longhaul.tenant_progress, longhaul.tenant_task_logs TO longhaul_tenant_reader;

-- The API stores tasks and reads them. It takes none, ends none, removes none: to
-- cancel and to retry are functions.
GRANT SELECT ON longhaul.migration, longhaul.current, longhaul.task, longhaul.task_type, longhaul.task_log, longhaul.attempt_error,
    longhaul.task_key, longhaul.queue, longhaul.held, longhaul.family, longhaul.child, longhaul.dependency,
    longhaul.schedule, longhaul.firing, longhaul.watched, longhaul.worker, longhaul.ended, longhaul.ready,
    longhaul.scheduled, longhaul.blocked, longhaul.lease, longhaul.admitted, longhaul.cancel_request,
    longhaul.pulse, longhaul.sample, longhaul.repaired, longhaul.trouble, longhaul.unsuccessful,
    longhaul.queue_names, longhaul.at_work, longhaul.task_tag TO longhaul_api;
GRANT INSERT ON longhaul.task, longhaul.ready, longhaul.scheduled, longhaul.blocked, longhaul.dependency,
    longhaul.family, longhaul.child, longhaul.ended, longhaul.task_key, longhaul.schedule,
    longhaul.firing, longhaul.watched, longhaul.task_tag TO longhaul_api;
GRANT UPDATE ON longhaul.task_key, longhaul.schedule, longhaul.watched TO longhaul_api;
-- What types a process knows. Whether one is paused is set by pause_type.
GRANT INSERT (name, id_prefix, queue, max_attempts, priority, unique_seconds, secret),
    UPDATE (id_prefix, queue, max_attempts, priority, unique_seconds, secret, registered_at)
    ON longhaul.task_type TO longhaul_api, longhaul_worker;
GRANT UPDATE (children) ON longhaul.family TO longhaul_api;
-- To lock tasks before it cancels or retries many takes the right to update a column:
-- the one that says least.
GRANT UPDATE (trace_context) ON longhaul.task TO longhaul_api;
-- It checks keys; they are made and revoked by the owner (`longhaul key`).
GRANT SELECT ON longhaul.api_key, longhaul.api_keys TO longhaul_api;
GRANT UPDATE (last_used_at) ON longhaul.api_key TO longhaul_api;
GRANT DELETE ON longhaul.schedule, longhaul.watched TO longhaul_api;
-- Who did what is only added to, at the time that it is; who is logged in comes and goes.
GRANT SELECT, INSERT (who, address, deed, target, details) ON longhaul.audit TO longhaul_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON longhaul.session TO longhaul_api;
GRANT EXECUTE ON FUNCTION longhaul.new_id(), longhaul.cancel(uuid), longhaul.retry(uuid), longhaul.retry_within(uuid, uuid[]),
    longhaul.change_queue, longhaul.set_queue, longhaul.pause_type, longhaul.enqueue, longhaul.follow_ends(uuid[]), longhaul.take_key, longhaul.tell_watchers,
    longhaul.store_tasks, longhaul.begin_batch, longhaul.make_ready, longhaul.wake(text), longhaul.places(uuid[]),
    longhaul.misplaced() TO longhaul_api;

-- The worker takes tasks, writes how they went, and removes them when their time is
-- over. It makes no schedules and sets no queues.
GRANT SELECT ON longhaul.migration, longhaul.current, longhaul.task, longhaul.task_type, longhaul.task_log, longhaul.attempt_error,
    longhaul.task_key, longhaul.queue, longhaul.held, longhaul.family, longhaul.child, longhaul.dependency,
    longhaul.schedule, longhaul.firing, longhaul.watched, longhaul.worker, longhaul.ended, longhaul.ready,
    longhaul.scheduled, longhaul.blocked, longhaul.lease, longhaul.leader, longhaul.admitted, longhaul.cancel_request,
    longhaul.pulse, longhaul.sample, longhaul.repaired, longhaul.observation, longhaul.gate, longhaul.queue_names,
    longhaul.at_work, longhaul.task_tag TO longhaul_worker;
GRANT INSERT, UPDATE ON longhaul.observation TO longhaul_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON longhaul.trouble, longhaul.unsuccessful TO longhaul_worker;
GRANT INSERT, UPDATE, DELETE ON longhaul.task, longhaul.ready, longhaul.scheduled, longhaul.blocked,
    longhaul.dependency, longhaul.family, longhaul.child, longhaul.ended, longhaul.lease, longhaul.leader,
    longhaul.worker, longhaul.task_key, longhaul.pulse, longhaul.sample TO longhaul_worker;
GRANT INSERT, DELETE ON longhaul.task_log, longhaul.firing, longhaul.task_tag TO longhaul_worker;
GRANT SELECT, INSERT, DELETE ON longhaul.successes TO longhaul_worker;
GRANT INSERT ON longhaul.attempt_error, longhaul.repaired TO longhaul_worker;
-- It fires schedules: what they start, and whether they are paused, it can't change.
GRANT UPDATE (next_at, last_fired_at, last_skipped_at, fired, problem) ON longhaul.schedule TO longhaul_worker;
GRANT DELETE ON longhaul.admitted, longhaul.cancel_request, longhaul.repaired TO longhaul_worker;
-- A claim holds tasks of paused types.
GRANT INSERT ON longhaul.held TO longhaul_worker;
-- Rows that its services can't process.
GRANT SELECT, INSERT, UPDATE, DELETE ON longhaul.set_aside TO longhaul_worker;
-- What is old enough of the audit goes with the rest (--keep-audit).
GRANT SELECT, DELETE ON longhaul.audit TO longhaul_worker;
GRANT EXECUTE ON FUNCTION longhaul.new_id(), longhaul.cancel(uuid), longhaul.retry(uuid), longhaul.cancel_through(uuid, uuid[]),
    longhaul.retry_through(uuid, uuid[]), longhaul.admit(text),
    longhaul.keep_gate(text, boolean), longhaul.try_moves(uuid[]),
    longhaul.follow_ends(uuid[]), longhaul.follow(), longhaul.ends_to_follow(), longhaul.dependents_to_follow(uuid[]),
    longhaul.parents_to_follow(), longhaul.follow_ended(uuid[]), longhaul.follow_children(uuid[]),
    longhaul.follow_dependents(uuid[]), longhaul.follow_dependents(uuid[], uuid[]), longhaul.follow_parents(uuid[]),
    longhaul.parents_to_show(), longhaul.show_children(uuid[]), longhaul.sum_children(), longhaul.ends_to_note(),
    longhaul.note_ends(uuid[]), longhaul.note_missed_ends(), longhaul.note_unsuccessful(uuid[]), longhaul.note_consequences(uuid[], uuid[]),
    longhaul.end_tasks(uuid[], boolean), longhaul.leave_gate(uuid[]), longhaul.store_tasks, longhaul.make_ready, longhaul.wake(text),
    longhaul.unsuccessful_amiss(uuid, uuid), longhaul.mend_unsuccessful(uuid, uuid), longhaul.mend_unsuccessful(uuid[]),
    longhaul.take_key, longhaul.tell_watchers, longhaul.places(uuid[]), longhaul.misplaced(), longhaul.repair(uuid[]) TO longhaul_worker;

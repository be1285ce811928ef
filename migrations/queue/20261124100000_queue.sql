-- The queue: what was asked for (task), what may run now (ready), what will be
-- ready later (scheduled), who holds what (lease, worker).
--
-- Two thoughts rule the layout (docs/architecture.md):
--  * a row that is updated is in no index on what changes, so every update of
--    `task` is heap-only (HOT): no index write, old versions pruned in the page;
--  * a row that is in the queue is small and short-lived, so `ready` holds
--    nothing but its key.
--
-- Tables are private: people and programs use the views at the end and the
-- HTTP API. They may change in any release; the views may only grow.

CREATE SCHEMA IF NOT EXISTS longhaul;

-- The labels are the wire's words (contract: `State`).
CREATE TYPE longhaul.task_state AS ENUM
    ('Scheduled', 'Queued', 'Running', 'Retrying', 'Succeeded', 'Failed', 'Cancelled');

-- What processes have registered: written at start-up by api and worker
-- processes, so that views can print a task's public id.
CREATE TABLE longhaul.task_type (
    name          text PRIMARY KEY,
    id_prefix     text NOT NULL,
    queue         text NOT NULL,
    max_attempts  smallint NOT NULL CHECK (max_attempts BETWEEN 1 AND 1000),
    registered_at timestamptz NOT NULL DEFAULT now(),
    paused_at     timestamptz
);

CREATE TABLE longhaul.worker (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    version      text NOT NULL,
    queues       text[] NOT NULL,
    slots        integer NOT NULL CHECK (slots > 0),
    -- The promise this worker made: it beats at least this often.
    heartbeat_ms integer NOT NULL CHECK (heartbeat_ms > 0),
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    -- Ended by itself.
    stopped_at   timestamptz,
    -- Presumed dead by the rescuer, which took its leases.
    lost_at      timestamptz
) WITH (fillfactor = 50);

CREATE TABLE longhaul.task (
    id                 uuid PRIMARY KEY,
    type               text NOT NULL,
    queue              text NOT NULL,
    created_by         text,
    -- Whose turn it is in a gated queue: a tenant, an account, a host …
    key                text,
    -- What no other open task may have (see task_key).
    unique_key         text,
    accepted_at        timestamptz NOT NULL DEFAULT now(),
    max_attempts       smallint NOT NULL,
    parameters         jsonb NOT NULL DEFAULT '{}',
    -- From here on: what changes while a task lives. Kept together, so that the
    -- WAL of an update is short (Postgres logs only what lies between the
    -- unchanged head and tail of a row).
    priority           smallint NOT NULL,
    state              longhaul.task_state NOT NULL,
    attempt            smallint NOT NULL DEFAULT 0,
    -- Attempts during which the worker died.
    crashes            smallint NOT NULL DEFAULT 0,
    worker_id          integer,
    fraction           real NOT NULL DEFAULT 0,
    total_elements     bigint NOT NULL DEFAULT 0,
    processed_elements bigint NOT NULL DEFAULT 0,
    run_at             timestamptz,
    started_at         timestamptz,
    finished_at        timestamptz,
    message            text,
    checkpoint         jsonb,
    result             jsonb,
    error              jsonb,

    CONSTRAINT task_priority_range CHECK (priority BETWEEN 0 AND 9),
    CONSTRAINT task_attempt_range CHECK (attempt >= 0 AND max_attempts >= 1),
    CONSTRAINT task_elements_range CHECK (total_elements >= 0 AND processed_elements BETWEEN 0 AND total_elements),
    CONSTRAINT task_fraction_range CHECK (fraction BETWEEN 0 AND 1),
    CONSTRAINT task_end_has_time CHECK ((state IN ('Succeeded', 'Failed', 'Cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT task_success_is_whole CHECK (state <> 'Succeeded' OR (fraction = 1 AND error IS NULL)),
    CONSTRAINT task_failure_has_error CHECK (state <> 'Failed' OR error IS NOT NULL),
    CONSTRAINT task_later_has_run_at CHECK (state <> 'Scheduled' OR run_at IS NOT NULL),
    CONSTRAINT task_run_has_attempt CHECK (state NOT IN ('Running', 'Retrying', 'Succeeded') OR attempt > 0)
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- What may run now, in the order of the primary key. The claim deletes; nothing
-- updates.
CREATE TABLE longhaul.ready (
    queue    text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    -- The task's place: its id, so that the oldest goes first; or, if it came
    -- through a gate where tasks take turns, an id of that moment …
    id       uuid NOT NULL,
    -- … and then this is the task's.
    task_id  uuid,
    PRIMARY KEY (queue, priority, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- What will be ready later: delays and retry backoff.
CREATE TABLE longhaul.scheduled (
    run_at timestamptz NOT NULL,
    id     uuid NOT NULL,
    PRIMARY KEY (run_at, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- What may not run yet because its queue is gated (paused, limited) or its type
-- paused: taken out of `ready` by a trigger, put back by longhaul.admit().
CREATE TABLE longhaul.held (
    queue    text COLLATE "C" NOT NULL,
    key      text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    id       uuid NOT NULL,
    type     text NOT NULL,
    PRIMARY KEY (queue, key, priority, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- Tasks of gated queues that may run: they are in `ready` or at work. Their
-- number is what the limits bound.
CREATE TABLE longhaul.admitted (
    id    uuid PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    key   text COLLATE "C" NOT NULL,
    -- Its row in `ready`, unless it was put back since.
    place uuid
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX admitted_by_key ON longhaul.admitted (queue, key);

-- One row per claimed batch. The row is the fence: whoever writes a running
-- task locks its lease first, and a worker whose lease is gone changes nothing.
-- A task id in task_ids is either at work under this lease or ended.
CREATE TABLE longhaul.lease (
    worker_id  integer NOT NULL,
    number     bigint NOT NULL,
    task_ids   uuid[] NOT NULL,
    -- Tasks were struck from it (they went back to the queue while others of the
    -- batch were at work), so the fence must look a task up in task_ids.
    shortened  boolean NOT NULL DEFAULT false,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (worker_id, number)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Every attempt that did not succeed, kept as long as its task.
CREATE TABLE longhaul.attempt_error (
    task_id     uuid NOT NULL REFERENCES longhaul.task ON DELETE CASCADE,
    attempt     smallint NOT NULL,
    worker_id   integer,
    failed_at   timestamptz NOT NULL DEFAULT now(),
    duration_ms bigint,
    error       jsonb NOT NULL,
    PRIMARY KEY (task_id, attempt, failed_at)
);

-- Public views ---------------------------------------------------------------

-- A task is running when its row is open and it waits nowhere: the claim takes
-- it out of `ready` and writes nothing else.
CREATE VIEW longhaul.tasks AS
SELECT coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id,
       t.id,
       t.type,
       s.state,
       round(t.fraction::numeric, 2) AS progress,
       t.processed_elements,
       t.total_elements,
       t.message,
       CASE WHEN s.state = 'Running' AND t.state <> 'Running' THEN t.attempt + 1 ELSE t.attempt END AS attempt,
       t.max_attempts,
       now() - t.accepted_at AS age,
       CASE WHEN s.state = 'Running'
            THEN (SELECT w.name FROM longhaul.lease l JOIN longhaul.worker w ON w.id = l.worker_id
                   WHERE t.id = ANY (l.task_ids) LIMIT 1)
            ELSE (SELECT w.name FROM longhaul.worker w WHERE w.id = t.worker_id)
       END AS worker,
       coalesce(t.error, (SELECT e.error FROM longhaul.attempt_error e WHERE e.task_id = t.id
                           ORDER BY e.attempt DESC, e.failed_at DESC LIMIT 1)) ->> 'detail' AS last_error,
       t.queue,
       t.priority,
       t.created_by,
       t.accepted_at,
       t.run_at,
       t.started_at,
       t.finished_at,
       t.parameters,
       t.checkpoint,
       t.result,
       t.error
  FROM longhaul.task t
  LEFT JOIN longhaul.task_type y ON y.name = t.type
 CROSS JOIN LATERAL (
       SELECT CASE WHEN t.state IN ('Succeeded', 'Failed', 'Cancelled') THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.ready r
                                 WHERE r.queue = t.queue AND r.priority = t.priority AND r.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.admitted a
                                  JOIN longhaul.ready r ON r.queue = t.queue AND r.priority = t.priority AND r.id = a.place
                                 WHERE a.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.scheduled p
                                 WHERE p.run_at = t.run_at AND p.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.held h
                                 WHERE h.queue = t.queue AND h.key = coalesce(t.key, '')
                                   AND h.priority = t.priority AND h.id = t.id) THEN t.state
                   ELSE 'Running'::longhaul.task_state
              END AS state) s;

CREATE VIEW longhaul.queues AS
SELECT q.queue,
       (SELECT count(*) FROM longhaul.ready r WHERE r.queue = q.queue) AS ready,
       (SELECT count(*) FROM longhaul.held h WHERE h.queue = q.queue) AS held,
       (SELECT count(*) FROM longhaul.scheduled p JOIN longhaul.task t USING (id) WHERE t.queue = q.queue) AS scheduled,
       (SELECT count(*) FROM longhaul.lease l CROSS JOIN unnest(l.task_ids) AS u(id) JOIN longhaul.task t USING (id)
         WHERE t.queue = q.queue AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')) AS running,
       now() - (SELECT t.accepted_at
                  FROM generate_series(0, 9) AS p(priority)
                 CROSS JOIN LATERAL (SELECT coalesce(r.task_id, r.id) AS id FROM longhaul.ready r
                                      WHERE r.queue = q.queue AND r.priority = p.priority
                                      ORDER BY r.id LIMIT 1) first
                  JOIN longhaul.task t USING (id)
                 ORDER BY t.accepted_at LIMIT 1) AS oldest_waiting
  FROM (SELECT y.queue FROM longhaul.task_type y
        UNION
        SELECT unnest(w.queues) FROM longhaul.worker w WHERE w.stopped_at IS NULL AND w.lost_at IS NULL) q;

CREATE VIEW longhaul.workers AS
SELECT w.id,
       w.name,
       CASE WHEN w.lost_at IS NOT NULL THEN 'lost'
            WHEN w.stopped_at IS NOT NULL THEN 'stopped'
            WHEN w.heartbeat_at < now() - w.heartbeat_ms * interval '1.7 ms' THEN 'silent'
            ELSE 'alive' END AS state,
       w.queues,
       w.slots,
       (SELECT count(*) FROM longhaul.lease l CROSS JOIN unnest(l.task_ids) AS u(id) JOIN longhaul.task t USING (id)
         WHERE l.worker_id = w.id AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')) AS running,
       now() - w.heartbeat_at AS last_heartbeat,
       w.version,
       w.started_at,
       w.stopped_at,
       w.lost_at
  FROM longhaul.worker w;

COMMENT ON VIEW longhaul.tasks IS 'Every task in words: state, progress (0 to 1), message, attempt, age, worker, last error.';
COMMENT ON VIEW longhaul.queues IS 'Every queue: how many tasks are ready, scheduled, running, and how long the oldest ready one has waited.';
COMMENT ON VIEW longhaul.workers IS 'Every worker process: alive, silent, lost or stopped, what it runs and when it last beat.';

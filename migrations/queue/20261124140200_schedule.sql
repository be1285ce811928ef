-- Cron schedules. The expressions are worked out by the program (crate model,
-- cron.rs); the database holds when each fires next, and moves that in the same
-- transaction that stores the firing's task.

CREATE TABLE longhaul.schedule (
    name          text COLLATE "C" PRIMARY KEY,
    cron          text NOT NULL,
    time_zone     text NOT NULL,
    type          text NOT NULL REFERENCES longhaul.task_type,
    parameters    jsonb NOT NULL DEFAULT '{}',
    -- NULL: those of the type.
    queue         text,
    priority      smallint,
    -- Whose task each is, see task.key.
    key           text,
    -- What becomes of firings that no process was there for.
    missed        text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    paused        boolean NOT NULL DEFAULT false,
    -- NULL: it never fires again.
    next_at       timestamptz,
    -- The due time that was fired last, not when that happened.
    last_fired_at timestamptz,
    fired         bigint NOT NULL DEFAULT 0,
    -- The last due time that got no task, by the policy for missed ones.
    last_skipped_at timestamptz,
    -- Why it can't fire.
    problem       text,

    CONSTRAINT schedule_name_form CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    CONSTRAINT schedule_missed_policy CHECK (missed IN ('Skip', 'Once', 'All')),
    CONSTRAINT schedule_priority_range CHECK (priority BETWEEN 0 AND 9)
) WITH (fillfactor = 50);

CREATE INDEX schedule_due ON longhaul.schedule (next_at) WHERE NOT paused;

-- Every firing; the key settles that each due time fires once. Kept for a month.
CREATE TABLE longhaul.firing (
    schedule text COLLATE "C" NOT NULL REFERENCES longhaul.schedule ON DELETE CASCADE,
    due_at   timestamptz NOT NULL,
    task_id  uuid NOT NULL,
    fired_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Which worker did it.
    fired_by integer,
    PRIMARY KEY (schedule, due_at)
);

CREATE VIEW longhaul.schedules AS
SELECT s.name,
       CASE WHEN s.paused THEN 'paused' WHEN s.problem IS NOT NULL THEN 'broken' WHEN s.next_at IS NULL THEN 'over'
            ELSE 'active' END AS state,
       s.cron,
       s.time_zone,
       s.type,
       CASE WHEN NOT s.paused THEN s.next_at END AS next_at,
       CASE WHEN NOT s.paused THEN s.next_at - now() END AS next_in,
       s.last_fired_at,
       (SELECT coalesce(y.id_prefix, lower(s.type) || '-') || f.task_id
          FROM longhaul.firing f LEFT JOIN longhaul.task_type y ON y.name = s.type
         WHERE f.schedule = s.name ORDER BY f.due_at DESC LIMIT 1) AS last_task,
       s.fired,
       s.last_skipped_at,
       s.missed,
       s.problem,
       s.parameters,
       s.queue,
       s.priority,
       s.created_at,
       s.changed_at
  FROM longhaul.schedule s;

COMMENT ON VIEW longhaul.schedules IS
    'Every cron schedule: active, paused, broken or over, when it fires next, its last task, how often it fired.';

-- How many tasks succeeded and are kept: the sum of `tasks`. Whoever makes tasks Succeeded, or
-- removes such tasks, adds one row for all of them in the same transaction, and changes none: so
-- nobody waits for anybody else. The bookkeeper adds up rows, and now and then counts the tasks
-- (crates/model/src/store/successes.rs).
SET LOCAL lock_timeout = '5s';

CREATE TABLE longhaul.successes (
    -- So many more, or fewer.
    tasks      bigint NOT NULL,
    -- When the tasks were counted, in the row that says how many they were.
    counted_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_threshold = -1);

-- In a new queue there is nothing to count.
INSERT INTO longhaul.successes (tasks, counted_at) SELECT 0, now() WHERE NOT EXISTS (SELECT FROM longhaul.task);

-- Whether the worker's program adds rows there. Those of earlier releases do not say so.
ALTER TABLE longhaul.worker ADD COLUMN counts_successes boolean NOT NULL DEFAULT false;

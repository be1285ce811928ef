-- What every statement on the queue pays for, however few tasks it stores or ends
-- (docs/performance.md, "One task a statement"): CPU of PostgreSQL for the storing of one
-- task fell from 270 to 120 µs.

-- PostgreSQL reads and plans the CHECKs of a table anew for each statement. One rule that
-- keeps what the queue relies on costs a quarter of nine. Whether the tasks that are there
-- keep it is looked at in the next migration, which needs no lock for that.
ALTER TABLE longhaul.task
    DROP CONSTRAINT task_priority_range,
    DROP CONSTRAINT task_attempt_range,
    DROP CONSTRAINT task_elements_range,
    DROP CONSTRAINT task_fraction_range,
    DROP CONSTRAINT task_end_has_time,
    DROP CONSTRAINT task_success_is_whole,
    DROP CONSTRAINT task_failure_has_error,
    DROP CONSTRAINT task_later_has_run_at,
    DROP CONSTRAINT task_run_has_attempt,
    -- The states from 'Succeeded' on are ends.
    ADD CONSTRAINT task_is_consistent CHECK (
            priority BETWEEN 0 AND 9
        AND processed_elements BETWEEN 0 AND total_elements
        AND (state >= 'Succeeded') = (finished_at IS NOT NULL)
        AND (state <> 'Failed' OR error IS NOT NULL)
        AND (state <> 'Scheduled' OR run_at IS NOT NULL)) NOT VALID;

-- The gate and what makes room behind it are triggers, which a statement pays for even if
-- nothing is gated: they are there only while a queue is gated or a type paused.
--
-- Whoever makes the first gate waits for the transactions that are putting tasks into
-- `ready`, and later ones meet the trigger; set_queue and pause_type wait for the same lock
-- and then stop what is ready.
CREATE FUNCTION longhaul.arm_gates() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted boolean;
BEGIN
    LOCK TABLE longhaul.ready IN SHARE ROW EXCLUSIVE MODE;
    wanted := EXISTS (SELECT FROM longhaul.queue q WHERE q.gated)
           OR EXISTS (SELECT FROM longhaul.task_type y WHERE y.paused_at IS NOT NULL);
    IF wanted <> (SELECT g.tgenabled <> 'D' FROM pg_trigger g
                   WHERE g.tgrelid = 'longhaul.ready'::regclass AND g.tgname = 'gate') THEN
        IF wanted THEN
            ALTER TABLE longhaul.ready ENABLE TRIGGER gate;
            ALTER TABLE longhaul.admitted ENABLE TRIGGER make_room;
        ELSE
            ALTER TABLE longhaul.ready DISABLE TRIGGER gate;
            ALTER TABLE longhaul.admitted DISABLE TRIGGER make_room;
        END IF;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION longhaul.arm_gates() FROM PUBLIC;

-- Admission itself, which updates other columns, fires none of these.
CREATE TRIGGER gates_change
    AFTER INSERT OR DELETE OR UPDATE OF paused_at, max_running, max_per_key, fair, rate_count ON longhaul.queue
    FOR EACH STATEMENT EXECUTE FUNCTION longhaul.arm_gates();
CREATE TRIGGER gates_change AFTER DELETE OR UPDATE OF paused_at ON longhaul.task_type
    FOR EACH STATEMENT EXECUTE FUNCTION longhaul.arm_gates();
UPDATE longhaul.queue SET paused_at = paused_at WHERE false;

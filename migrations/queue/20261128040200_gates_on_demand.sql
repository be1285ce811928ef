-- The gate and what makes room behind it are triggers, which a statement pays for even if
-- nothing is gated: they are there only while a queue is gated or a type paused.
--
-- Whoever makes the first gate waits for the transactions that are putting tasks into
-- `ready`, and later ones meet the trigger; set_queue and pause_type wait for the same lock
-- and then stop what is ready. In a transaction of its own: one that has locked `task` must
-- not wait for `ready`, which others hold who wait for `task`.
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
            -- Who frees a place holds `admitted` and asks for `ready`, which is locked here:
            -- to wait for `admitted` would be a deadlock. Triggers that stay cost time only,
            -- and the next change of a gate tries again.
            BEGIN
                LOCK TABLE longhaul.admitted IN SHARE ROW EXCLUSIVE MODE NOWAIT;
                ALTER TABLE longhaul.ready DISABLE TRIGGER gate;
                ALTER TABLE longhaul.admitted DISABLE TRIGGER make_room;
            EXCEPTION WHEN lock_not_available THEN
                NULL;
            END;
        END IF;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION longhaul.arm_gates() FROM PUBLIC;

-- In the order in which statements that store and end tasks lock them, and before all else:
-- some hold `ready` and ask for `queue`. Where nothing is gated nobody goes the other way.
LOCK TABLE longhaul.ready IN SHARE ROW EXCLUSIVE MODE;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM longhaul.queue q WHERE q.gated) THEN
        LOCK TABLE longhaul.admitted IN SHARE ROW EXCLUSIVE MODE;
    END IF;
END $$;

-- Admission itself, which updates other columns, fires none of these.
CREATE TRIGGER gates_change
    AFTER INSERT OR DELETE OR UPDATE OF paused_at, max_running, max_per_key, fair, rate_count ON longhaul.queue
    FOR EACH STATEMENT EXECUTE FUNCTION longhaul.arm_gates();
CREATE TRIGGER gates_change AFTER DELETE OR UPDATE OF paused_at ON longhaul.task_type
    FOR EACH STATEMENT EXECUTE FUNCTION longhaul.arm_gates();
-- Changes nothing, and so fires the trigger: this database's gates are looked at now.
UPDATE longhaul.queue SET paused_at = paused_at WHERE false;

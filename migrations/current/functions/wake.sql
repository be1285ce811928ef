-- Wakes the workers of a queue at the commit, if one of them is idle: crates/model/src/store/idle.rs
-- says how that is known.
CREATE OR REPLACE FUNCTION longhaul.wake(queue text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock_shared(hashtextextended('longhaul.idle:' || queue, 0)) THEN
        PERFORM pg_notify('longhaul_ready', queue);
    END IF;
END
$$;

-- Gives back the places of tasks in limited queues: whatever is not at work any more is not
-- admitted either, and is admitted anew if it goes on. Nothing is admitted where no queue is gated,
-- but for what the gatekeeper has not yet removed (longhaul.keep_gate).
CREATE OR REPLACE FUNCTION longhaul.leave_gate(ids uuid[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    queue_name text;
BEGIN
    IF EXISTS (SELECT FROM longhaul.queue q WHERE q.gated) OR EXISTS (SELECT FROM longhaul.admitted) THEN
        FOR queue_name IN
            WITH gone AS (
                DELETE FROM longhaul.admitted a WHERE a.id = ANY (ids) RETURNING a.queue
            )
            SELECT DISTINCT g.queue FROM gone g
        LOOP
            PERFORM pg_notify('longhaul_gate', queue_name);
        END LOOP;
    END IF;
END
$$;

-- Queues those of these tasks that are open and in no place, and writes each down. Returns
-- how many. A task that another transaction has locked is left for the next time.
CREATE OR REPLACE FUNCTION longhaul.repair(ids uuid[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    free uuid[];
    queues text[];
    priorities smallint[];
BEGIN
    SELECT array_agg(locked.id) INTO free
      FROM (SELECT t.id FROM longhaul.task t
             WHERE t.id = ANY (repair.ids) AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
             ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED) AS locked;
    IF free IS NULL THEN
        RETURN 0;
    END IF;
    -- A statement of its own, which sees what was committed before the locks.
    WITH stranded AS MATERIALIZED (
        -- A row whose other columns someone has changed by hand is a place, too.
        SELECT p.id, p.state FROM longhaul.places(free) p
         WHERE cardinality(p.places) = 0
           AND NOT EXISTS (SELECT FROM longhaul.scheduled s WHERE s.id = p.id)
           AND NOT EXISTS (SELECT FROM longhaul.ready r WHERE coalesce(r.task_id, r.id) = p.id)
           AND NOT EXISTS (SELECT FROM longhaul.held h WHERE h.id = p.id)
    ), back AS (
        UPDATE longhaul.task t SET state = 'Queued' FROM stranded s WHERE t.id = s.id
        RETURNING t.id, t.queue, t.priority
    ), noted AS (
        INSERT INTO longhaul.repaired (task_id, problem)
        SELECT s.id, format('it was open (%s) and in no place', s.state) FROM stranded s
    )
    SELECT array_agg(b.id), array_agg(b.queue), array_agg(b.priority) INTO free, queues, priorities FROM back b;
    PERFORM longhaul.leave_gate(free);
    PERFORM longhaul.make_ready(free, queues, priorities);
    RETURN coalesce(cardinality(free), 0);
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.repair(uuid[]) FROM PUBLIC;

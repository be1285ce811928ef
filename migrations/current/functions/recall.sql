-- A step of the gatekeeper (keep_gate.sql). Each takes a bounded number of rows, and passes over
-- those that another transaction has locked: nobody waits for the gatekeeper for longer than one
-- step, and the gatekeeper waits for nobody. In PL/pgSQL, which keeps its plans. `but`: tasks that
-- are set aside, since the database refuses to move them (longhaul.try_moves).
--
-- What was admitted and nobody has claimed yet waits again.
CREATE OR REPLACE FUNCTION longhaul.recall(queue_name text, but uuid[], at_most integer, OUT moved integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH unclaimed AS MATERIALIZED (
        SELECT r.ctid AS place, r.priority, coalesce(r.task_id, r.id) AS id
          FROM longhaul.ready r
         WHERE r.queue = queue_name AND r.priority >= 10 AND coalesce(r.task_id, r.id) <> ALL (but)
         LIMIT at_most
           FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM longhaul.ready WHERE ctid = ANY (ARRAY(SELECT u.place FROM unclaimed u))
    ), uncounted AS (
        DELETE FROM longhaul.admitted a WHERE a.id = ANY (ARRAY(SELECT u.id FROM unclaimed u))
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id) SELECT queue_name, u.priority - 10, u.id FROM unclaimed u
    )
    SELECT count(*) INTO moved FROM unclaimed;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.recall(text,uuid[],integer) FROM PUBLIC;

-- A step of the gatekeeper (keep_gate.sql). Each takes a bounded number of rows, and passes over
-- those that another transaction has locked: nobody waits for the gatekeeper for longer than one
-- step, and the gatekeeper waits for nobody. In PL/pgSQL, which keeps its plans. `but`: tasks that
-- are set aside, since the database refuses to move them (longhaul.try_moves).
--
-- Tasks that need not be in `held`, neither for their turn nor for their type, go back to
-- where all tasks wait.
CREATE OR REPLACE FUNCTION longhaul.unhold(queue_name text, but uuid[], paused_types text[], at_most integer, OUT moved integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH freed AS MATERIALIZED (
        SELECT h.ctid AS place, h.priority, h.id
          FROM longhaul.held h
         WHERE h.queue = queue_name AND h.type <> ALL (paused_types) AND h.id <> ALL (but)
         LIMIT at_most
           FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM longhaul.held WHERE ctid = ANY (ARRAY(SELECT f.place FROM freed f))
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id) SELECT queue_name, f.priority, f.id FROM freed f
    )
    SELECT count(*) INTO moved FROM freed;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.unhold(text,uuid[],text[],integer) FROM PUBLIC;

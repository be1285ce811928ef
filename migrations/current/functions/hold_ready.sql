-- A step of the gatekeeper (keep_gate.sql). Each takes a bounded number of rows, and passes over
-- those that another transaction has locked: nobody waits for the gatekeeper for longer than one
-- step, and the gatekeeper waits for nobody. In PL/pgSQL, which keeps its plans. `but`: tasks that
-- are set aside, since the database refuses to move them (longhaul.try_moves).
--
-- Tasks of a queue that takes turns wait in `held`, which is in the order of keys. It is apart from
-- longhaul.take_in_order for the reason that is told there.
CREATE OR REPLACE FUNCTION longhaul.hold_ready(queue_name text, but uuid[], at_most integer, OUT moved integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH front AS MATERIALIZED (
        SELECT r.ctid AS place, r.priority, coalesce(r.task_id, r.id) AS id
          FROM longhaul.ready r
         WHERE r.queue = queue_name AND r.priority < 10 AND coalesce(r.task_id, r.id) <> ALL (but)
         ORDER BY r.priority, r.id
         LIMIT at_most
           FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM longhaul.ready WHERE ctid = ANY (ARRAY(SELECT f.place FROM front f))
    ), held AS (
        INSERT INTO longhaul.held (queue, key, priority, id, type)
        SELECT queue_name, longhaul.turn_key(coalesce(t.key, '')), f.priority, f.id, t.type
          FROM front f
         CROSS JOIN LATERAL (SELECT o.key, o.type FROM longhaul.task o WHERE o.id = f.id OFFSET 0) t
    )
    SELECT count(*) INTO moved FROM front;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.hold_ready(text,uuid[],integer) FROM PUBLIC;

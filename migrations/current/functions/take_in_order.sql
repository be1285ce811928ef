-- A step of the gatekeeper (keep_gate.sql). Each takes a bounded number of rows, and passes over
-- those that another transaction has locked: nobody waits for the gatekeeper for longer than one
-- step, and the gatekeeper waits for nobody. In PL/pgSQL, which keeps its plans. `but`: tasks that
-- are set aside, since the database refuses to move them (longhaul.try_moves).
--
-- Takes the first tasks that wait, by priority and age. Those of paused types are held: how
-- many is told too. A row whose task is gone is removed.
--
-- Its look at `ready` is also that of longhaul.hold_ready. The two are apart since each part of the
-- statement differs: this one chooses by type and keeps the order, and that one moves all it finds,
-- thousands at once, without sorting or aggregating them.
CREATE OR REPLACE FUNCTION longhaul.take_in_order(queue_name text, but uuid[], room integer, paused_types text[],
    OUT ids uuid[], OUT priorities smallint[], OUT keys text[], OUT stopped integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH front AS MATERIALIZED (
        SELECT r.ctid AS place, r.priority, coalesce(r.task_id, r.id) AS id
          FROM longhaul.ready r
         WHERE r.queue = queue_name AND r.priority < 10 AND coalesce(r.task_id, r.id) <> ALL (but)
         ORDER BY r.priority, r.id
         LIMIT CASE WHEN paused_types = '{}' THEN room ELSE greatest(room, 1000) END
           FOR UPDATE SKIP LOCKED
    ), known AS MATERIALIZED (
        SELECT f.*, longhaul.turn_key(coalesce(t.key, '')) AS key, t.type, t.type = ANY (paused_types) AS paused
          FROM front f
          LEFT JOIN LATERAL (SELECT o.key, o.type FROM longhaul.task o WHERE o.id = f.id OFFSET 0) t ON true
    ), chosen AS MATERIALIZED (
        SELECT * FROM known k WHERE NOT k.paused ORDER BY k.priority, k.id LIMIT room
    ), gone AS (
        DELETE FROM longhaul.ready
         WHERE ctid = ANY (ARRAY(SELECT c.place FROM chosen c
                                 UNION ALL SELECT k.place FROM known k WHERE k.paused IS NOT FALSE))
    ), held AS (
        INSERT INTO longhaul.held (queue, key, priority, id, type)
        SELECT queue_name, k.key, k.priority, k.id, k.type FROM known k WHERE k.paused
    )
    SELECT array_agg(c.id ORDER BY c.priority, c.id), array_agg(c.priority ORDER BY c.priority, c.id),
           array_agg(c.key ORDER BY c.priority, c.id), (SELECT count(*) FROM known k WHERE k.paused)
      INTO ids, priorities, keys, stopped
      FROM chosen c;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.take_in_order(text,uuid[],integer,text[]) FROM PUBLIC;

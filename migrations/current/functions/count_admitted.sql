-- A step of the gatekeeper (keep_gate.sql). Each takes a bounded number of rows, and passes over
-- those that another transaction has locked: nobody waits for the gatekeeper for longer than one
-- step, and the gatekeeper waits for nobody. In PL/pgSQL, which keeps its plans. `but`: tasks that
-- are set aside, since the database refuses to move them (longhaul.try_moves).
--
-- Brings `admitted` into line with what was admitted or runs: removes what does neither, and
-- adds what was claimed before the queue was gated, if it is told to. Whoever ends a task just
-- now may not see what is added for it: the next count removes that.
CREATE OR REPLACE FUNCTION longhaul.count_admitted(queue_name text, but uuid[], add_missing boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH leased AS MATERIALIZED (
        SELECT DISTINCT u.id FROM longhaul.lease l CROSS JOIN unnest(l.task_ids) AS u(id)
    ), unclaimed AS MATERIALIZED (
        SELECT r.task_id AS id FROM longhaul.ready r WHERE r.queue = queue_name AND r.priority >= 10
    ), gone AS (
        DELETE FROM longhaul.admitted
         WHERE ctid = ANY (ARRAY(
               SELECT a.ctid
                 FROM longhaul.admitted a
                WHERE a.queue = queue_name
                  AND a.id NOT IN (SELECT u.id FROM unclaimed u WHERE u.id IS NOT NULL)
                  AND (a.id NOT IN (SELECT l.id FROM leased l)
                       OR NOT EXISTS (SELECT FROM longhaul.task t
                                       WHERE t.id = a.id AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')))
                  FOR UPDATE SKIP LOCKED))
    )
    INSERT INTO longhaul.admitted (id, queue, key)
    SELECT t.id, t.queue, longhaul.turn_key(coalesce(t.key, ''))
      FROM (SELECT l.id FROM leased l WHERE add_missing) AS at_work
     CROSS JOIN LATERAL (SELECT * FROM longhaul.task o WHERE o.id = at_work.id OFFSET 0) t
     WHERE t.queue = queue_name AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled') AND t.id <> ALL (but)
        ON CONFLICT DO NOTHING;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.count_admitted(text,uuid[],boolean) FROM PUBLIC;

-- The places of these tasks, of those that are open. Each has exactly one; a task without
-- any is stranded, and one with two may run twice. One statement reads all of them, so it
-- sees no move half done.
CREATE OR REPLACE FUNCTION longhaul.places(ids uuid[]) RETURNS TABLE (id uuid, state longhaul.task_state, places text[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH open AS MATERIALIZED (
        SELECT t.id, t.state, t.queue, t.priority, t.run_at, longhaul.turn_key(coalesce(t.key, '')) AS key
          FROM longhaul.task t
         WHERE t.id = ANY (places.ids) AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
    ), leased AS MATERIALIZED (
        SELECT u.id, count(*)::integer AS leases
          FROM longhaul.lease l CROSS JOIN unnest(l.task_ids) AS u(id)
         WHERE u.id IN (SELECT i.id FROM open i)
         GROUP BY u.id
    )
    -- One look into an index for each: no condition with OR, for which PostgreSQL would read
    -- all of a queue.
    SELECT o.id, o.state,
           ARRAY(SELECT 'ready' FROM longhaul.ready r
                  WHERE r.queue = o.queue AND r.priority = o.priority AND r.id = o.id)
           -- Admitted to a gated queue.
           || ARRAY(SELECT 'ready' FROM longhaul.admitted a
                      JOIN longhaul.ready r ON r.queue = o.queue AND r.priority = o.priority + 10 AND r.id = a.place
                     WHERE a.id = o.id)
           || ARRAY(SELECT 'scheduled' FROM longhaul.scheduled s WHERE s.run_at = o.run_at AND s.id = o.id)
           || ARRAY(SELECT 'held' FROM longhaul.held h
                     WHERE h.queue = o.queue AND h.key = o.key AND h.priority = o.priority AND h.id = o.id)
           || ARRAY(SELECT 'blocked' FROM longhaul.blocked b WHERE b.id = o.id)
           || ARRAY(SELECT 'children' FROM longhaul.family f WHERE f.parent_id = o.id AND f.waiting)
           || array_fill('lease'::text, ARRAY[coalesce(x.leases, 0)])
      FROM open o LEFT JOIN leased x ON x.id = o.id
$$;
COMMENT ON FUNCTION longhaul.places(uuid[]) IS
    'Where each of these open tasks is; exactly one place is right.';

-- The open children of these tasks, and theirs, and so on: what cancelling these cancels,
-- too.
CREATE OR REPLACE FUNCTION longhaul.reached_by_cancel(ids uuid[]) RETURNS TABLE (id uuid)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE reached (id) AS (
        SELECT i.id FROM unnest(reached_by_cancel.ids) AS i(id)
        UNION
        SELECT t.id
          FROM reached r JOIN longhaul.child c ON c.parent_id = r.id JOIN longhaul.task t ON t.id = ANY (ARRAY[c.id])
         WHERE t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
    )
    SELECT r.id FROM reached r WHERE r.id <> ALL (reached_by_cancel.ids) ORDER BY r.id
$$;

-- The other tasks that a retry of these runs again, too: parts of a batch that did not
-- succeed, and what ended because of one, and so on. With `only_by`: what waited for one is
-- passed over if it is by someone else; and so is what `without` names. Parts never are.
-- Not by `=`, which may become a look at all tasks (docs/performance.md).
CREATE OR REPLACE FUNCTION longhaul.reached_by_retry(ids uuid[], only_by text, without uuid[])
RETURNS TABLE (id uuid, is_part boolean)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE reached (id, is_part) AS (
        SELECT i.id, false FROM unnest(reached_by_retry.ids) AS i(id)
        UNION
        SELECT t.id, n.is_part
          FROM reached r
         CROSS JOIN LATERAL (
                SELECT d.task_id AS id, false AS is_part FROM longhaul.dependency d
                 WHERE d.on_id = r.id AND d.outcome = 'Broken'
                UNION ALL
                SELECT c.id, true FROM longhaul.child c JOIN longhaul.family f ON f.parent_id = c.parent_id AND NOT f.resume
                 WHERE c.parent_id = r.id) AS n
          JOIN longhaul.task t ON t.id = ANY (ARRAY[n.id])
         WHERE t.state IN ('Failed', 'Cancelled')
           AND (n.is_part OR (only_by IS NULL OR t.created_by = only_by) AND t.id <> ALL (without))
    )
    SELECT r.id, bool_or(r.is_part) FROM reached r WHERE r.id <> ALL (reached_by_retry.ids) GROUP BY r.id ORDER BY r.id
$$;

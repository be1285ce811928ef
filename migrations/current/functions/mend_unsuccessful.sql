-- Mends what `unsuccessful` and these tasks contradict each other in. Returns how many tasks that
-- were; one that another transaction has locked is left for the next time.
CREATE OR REPLACE FUNCTION longhaul.mend_unsuccessful(ids uuid[]) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    free uuid[];
BEGIN
    free := ARRAY(SELECT t.id FROM longhaul.task t WHERE t.id = ANY (ids) ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED);
    -- Statements of their own, which see what was committed before the locks.
    DELETE FROM longhaul.unsuccessful u
     WHERE u.state IN ('Failed', 'Cancelled') AND u.task_id = ANY (ids)
       AND NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = u.task_id AND (t.state = u.state OR t.id <> ALL (free)));
    PERFORM longhaul.note_unsuccessful(free);
    RETURN cardinality(ids);
END $$;

-- The same of the tasks with ids after `after`, up to `last`: for workers of the previous release.
CREATE OR REPLACE FUNCTION longhaul.mend_unsuccessful(after uuid, last uuid) RETURNS integer
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT longhaul.mend_unsuccessful(amiss.ids)
      FROM (SELECT array_agg(DISTINCT a.id) AS ids FROM longhaul.unsuccessful_amiss(after, last) a) AS amiss
     WHERE cardinality(amiss.ids) > 0
     UNION ALL SELECT 0 LIMIT 1
$$;

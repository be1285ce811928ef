-- Mends what contradicts. Returns how many rows it found; a task that another transaction
-- has locked is left for the next time.
CREATE OR REPLACE FUNCTION longhaul.mend_unsuccessful(after uuid, last uuid) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    amiss uuid[] := ARRAY(SELECT a.id FROM longhaul.unsuccessful_amiss(mend_unsuccessful.after, mend_unsuccessful.last) a);
    free uuid[];
BEGIN
    IF cardinality(amiss) = 0 THEN
        RETURN 0;
    END IF;
    free := ARRAY(SELECT t.id FROM longhaul.task t WHERE t.id = ANY (amiss) ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED);
    -- Statements of their own, which see what was committed before the locks.
    DELETE FROM longhaul.unsuccessful u
     WHERE u.state IN ('Failed', 'Cancelled') AND u.task_id = ANY (amiss)
       AND NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = u.task_id AND (t.state = u.state OR t.id <> ALL (free)));
    PERFORM longhaul.note_unsuccessful(free);
    RETURN cardinality(amiss);
END $$;

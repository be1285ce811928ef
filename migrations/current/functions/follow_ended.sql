-- Acts upon these ends. Those with dependents that are set aside are noted again, for
-- these alone.
CREATE OR REPLACE FUNCTION longhaul.follow_ended(ids uuid[]) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    done uuid[];
    uncounted uuid[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    WITH taken AS (
        DELETE FROM longhaul.ended e WHERE e.id = ANY (ids) RETURNING e.id, e.edges_only
    )
    SELECT coalesce(array_agg(t.id), '{}'), coalesce(array_agg(t.id) FILTER (WHERE NOT t.edges_only), '{}')
      INTO done, uncounted FROM taken t;
    PERFORM longhaul.follow_dependents(done);
    PERFORM longhaul.follow_children(uncounted);
    -- Requests to cancel that were made while the task ended.
    DELETE FROM longhaul.cancel_request c USING longhaul.task t
     WHERE c.task_id = ANY (done) AND t.id = c.task_id AND t.finished_at IS NOT NULL;
    IF EXISTS (SELECT FROM longhaul.set_aside a WHERE a.service = 'follower/dependents') THEN
        INSERT INTO longhaul.ended (id, edges_only)
        SELECT DISTINCT d.on_id, true FROM longhaul.dependency d JOIN longhaul.task t ON t.id = d.on_id
         WHERE d.on_id = ANY (done) AND d.outcome IS NULL AND t.finished_at IS NOT NULL
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN cardinality(done);
END $$;

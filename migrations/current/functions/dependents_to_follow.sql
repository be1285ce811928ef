-- Tasks that wait for one of these, and are not set aside.
CREATE OR REPLACE FUNCTION longhaul.dependents_to_follow(done uuid[]) RETURNS uuid[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(
        SELECT DISTINCT d.task_id FROM longhaul.dependency d
         WHERE d.on_id = ANY (done) AND d.outcome IS NULL
           AND d.task_id <> ALL (ARRAY(SELECT longhaul.aside('follower/dependents'))))
$$;

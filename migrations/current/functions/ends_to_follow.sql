-- Ends to act upon. Those that were counted, and of which only dependents are left that
-- are set aside, wait for those.
CREATE OR REPLACE FUNCTION longhaul.ends_to_follow() RETURNS uuid[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(
        SELECT e.id FROM longhaul.ended e
         WHERE e.id <> ALL (ARRAY(SELECT longhaul.aside('follower/ends')))
           AND NOT (e.edges_only
                    AND EXISTS (SELECT FROM longhaul.set_aside a WHERE a.service = 'follower/dependents')
                    AND EXISTS (SELECT FROM longhaul.dependency d WHERE d.on_id = e.id AND d.outcome IS NULL)
                    AND NOT EXISTS (SELECT FROM longhaul.dependency d
                                     WHERE d.on_id = e.id AND d.outcome IS NULL
                                       AND d.task_id <> ALL (ARRAY(SELECT longhaul.aside('follower/dependents')))))
         LIMIT 2000)
$$;

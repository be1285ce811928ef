-- Parents with something to do: they were cancelled, they stop, or the last of their
-- children has ended.
CREATE OR REPLACE FUNCTION longhaul.parents_to_follow() RETURNS uuid[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(
        SELECT f.parent_id FROM longhaul.family f
         WHERE (f.waiting OR f.stopping)
           AND CASE WHEN f.succeeded + f.failed + f.cancelled >= f.children THEN f.waiting OR f.stopped_to >= f.children
                    WHEN f.stopping THEN f.stopped_to < f.children OR NOT f.waiting
                    ELSE EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = f.parent_id) END
           AND f.parent_id <> ALL (ARRAY(SELECT longhaul.aside('follower/parents')))
         LIMIT 1000)
$$;

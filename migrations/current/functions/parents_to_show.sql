-- Parents whose progress is their children's.
CREATE OR REPLACE FUNCTION longhaul.parents_to_show() RETURNS uuid[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(SELECT f.parent_id FROM longhaul.family f
                  WHERE f.waiting AND f.parent_id <> ALL (ARRAY(SELECT longhaul.aside('follower/progress'))))
$$;

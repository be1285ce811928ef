-- What may have been missed: parents that wait, and ended tasks that others wait for.
CREATE OR REPLACE FUNCTION longhaul.ends_to_note() RETURNS uuid[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(
        SELECT i.id
          FROM (SELECT f.parent_id AS id FROM longhaul.family f WHERE f.waiting
                UNION
                SELECT d.on_id FROM longhaul.dependency d JOIN longhaul.task t ON t.id = d.on_id
                 WHERE d.outcome IS NULL AND t.finished_at IS NOT NULL) AS i
         WHERE i.id <> ALL (ARRAY(SELECT longhaul.aside('retention/ends'))))
$$;

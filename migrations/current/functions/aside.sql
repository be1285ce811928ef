-- Tasks that a part of a service has set aside, which its normal run leaves out. A row there that
-- names no task is none of them. Asked as `ARRAY(SELECT longhaul.aside('promoter'))`, once for a statement.
CREATE OR REPLACE FUNCTION longhaul.aside(service text) RETURNS SETOF uuid
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN a.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN a.id::uuid END
      FROM longhaul.set_aside a
     WHERE a.service = aside.service AND a.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
$$;

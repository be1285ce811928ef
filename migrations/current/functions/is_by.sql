-- Whether a task is by this maker, or by one whom it speaks for.
CREATE OR REPLACE FUNCTION longhaul.is_by(created_by text, maker text) RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(created_by = maker OR starts_with(created_by, maker || ':'), false) $$;
REVOKE EXECUTE ON FUNCTION longhaul.is_by(text,text) FROM PUBLIC;

-- The caller's name as the maker of tasks, if it may not write tasks itself; else NULL.
CREATE OR REPLACE FUNCTION longhaul.outsider() RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    caller CONSTANT name := longhaul.caller();
BEGIN
    IF has_table_privilege(caller, 'longhaul.task'::regclass, 'INSERT') THEN
        RETURN NULL;
    END IF;
    RETURN longhaul.sql_maker(caller);
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.outsider() FROM PUBLIC;

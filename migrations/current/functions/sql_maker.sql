-- The name of a role as the maker of tasks.
CREATE OR REPLACE FUNCTION longhaul.sql_maker(role name) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN 'sql:' || quote_ident(role);
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.sql_maker(name) FROM PUBLIC;

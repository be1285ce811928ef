-- Whoever calls a function that runs with its owner's rights: the role that was set, else
-- the login. A function of an application that runs with its own owner's rights does not
-- count, since nothing tells of it here.
CREATE OR REPLACE FUNCTION longhaul.caller() RETURNS name
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.caller() FROM PUBLIC;

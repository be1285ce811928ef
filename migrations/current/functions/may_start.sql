-- Whether a type was granted to the caller, or to a role that it belongs to.
CREATE OR REPLACE FUNCTION longhaul.may_start(type text) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    caller CONSTANT name := longhaul.caller();
BEGIN
    RETURN EXISTS (SELECT FROM longhaul.role_type g LEFT JOIN pg_roles r ON r.rolname = g.role
                    WHERE g.type = may_start.type AND (g.role = 'public' OR pg_has_role(caller, r.oid, 'USAGE')));
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.may_start(text) FROM PUBLIC;

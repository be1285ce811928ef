-- Takes back what grant_types gave.
CREATE OR REPLACE FUNCTION longhaul.revoke_types(role text, VARIADIC types text[]) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ DELETE FROM longhaul.role_type g WHERE g.role = revoke_types.role AND g.type = ANY (types) $$;
REVOKE EXECUTE ON FUNCTION longhaul.revoke_types(text,text[]) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.revoke_types(text,text[]) IS
    'Takes back what longhaul.grant_types gave to a role.';

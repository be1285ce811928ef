-- Lets a role, and those that belong to it, start these types from SQL; `public` lets all.
CREATE OR REPLACE FUNCTION longhaul.grant_types(role text, VARIADIC types text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unknown text;
BEGIN
    IF role IS NULL OR role <> 'public' AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = grant_types.role) THEN
        RAISE EXCEPTION 'there is no role %', coalesce(quote_literal(role), 'NULL') USING ERRCODE = 'undefined_object';
    END IF;
    FOR unknown IN
        SELECT n.name FROM unnest(types) AS n(name)
         WHERE NOT EXISTS (SELECT FROM longhaul.task_type y WHERE y.name = n.name)
    LOOP
        RAISE NOTICE '% is granted, but no process has made such a type known yet', quote_literal(unknown);
    END LOOP;
    INSERT INTO longhaul.role_type (role, type)
    SELECT DISTINCT grant_types.role, n.name FROM unnest(types) AS n(name)
        ON CONFLICT DO NOTHING;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.grant_types(text,text[]) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.grant_types(text,text[]) IS
    'Lets a role, and those that belong to it, start these types of tasks from SQL; public stands for all roles.';

-- Tasks from SQL: any language, any trigger, inside the caller's transaction. It runs with the
-- rights of its owner, so that an application needs none on the tables: USAGE on the schema,
-- EXECUTE on this function, and the types that longhaul.grant_types gives it.
CREATE OR REPLACE FUNCTION longhaul.enqueue(
    type         text,
    parameters   jsonb       DEFAULT '{}',
    run_at       timestamptz DEFAULT NULL,
    priority     integer     DEFAULT NULL,
    queue        text        DEFAULT NULL,
    max_attempts integer     DEFAULT NULL,
    created_by   text        DEFAULT NULL,
    key          text        DEFAULT NULL,
    unique_key   text        DEFAULT NULL,
    unique_for   interval    DEFAULT NULL,
    timeout      interval    DEFAULT NULL,
    tags         text[]      DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN longhaul.store_task(type, parameters, run_at, priority, queue, max_attempts,
                               longhaul.started_by(type, created_by), key, unique_key, unique_for, timeout, tags);
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.enqueue(text,jsonb,timestamp with time zone,integer,text,integer,text,text,text,interval,interval,text[]) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.enqueue(text,jsonb,timestamp with time zone,integer,text,integer,text,text,text,interval,interval,text[]) IS
    'Stores a task in the caller''s transaction and returns its public id, or that of the task with its unique key. Workers see it after the commit.';
-- It had two arguments less. Rights that were granted on that one are granted on this one, and
-- it is dropped at once: beside it, no call would say which of the two is meant.
DO $$
DECLARE
    earlier CONSTANT regprocedure := to_regprocedure('longhaul.enqueue(text,jsonb,timestamp with time zone,integer,text,integer,text,text,text,interval)');
    granted record;
BEGIN
    FOR granted IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS role, a.is_grantable
          FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE p.oid = earlier AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
           AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE 'GRANT EXECUTE ON FUNCTION longhaul.enqueue(text,jsonb,timestamp with time zone,integer,text,integer,text,text,text,interval,interval,text[]) TO ' || granted.role
                || CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
    IF earlier IS NOT NULL THEN
        EXECUTE 'DROP FUNCTION ' || earlier;
    END IF;
END $$;

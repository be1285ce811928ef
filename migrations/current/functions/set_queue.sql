-- longhaul.change_queue by arguments. What is left out stays as it is: the defaults stand for that, and are
-- no values that a setting can have. API processes of the release before give every argument.
CREATE OR REPLACE FUNCTION longhaul.set_queue(name text, paused boolean DEFAULT NULL, max_running integer DEFAULT '-2147483648',
    max_per_key integer DEFAULT '-2147483648', fair boolean DEFAULT NULL, rate_count integer DEFAULT '-2147483648',
    rate_seconds double precision DEFAULT '-Infinity', max_waiting integer DEFAULT '-2147483648') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM longhaul.change_queue(set_queue.name, coalesce(
        (SELECT jsonb_object_agg(m.name, m.value)
           FROM (VALUES ('Paused', to_jsonb(set_queue.paused), set_queue.paused IS NOT NULL),
                        ('MaxRunning', to_jsonb(set_queue.max_running), set_queue.max_running IS DISTINCT FROM -2147483648),
                        ('MaxPerKey', to_jsonb(set_queue.max_per_key), set_queue.max_per_key IS DISTINCT FROM -2147483648),
                        ('Fair', to_jsonb(set_queue.fair), set_queue.fair IS NOT NULL),
                        ('RateCount', to_jsonb(set_queue.rate_count), set_queue.rate_count IS DISTINCT FROM -2147483648),
                        ('RateSeconds', to_jsonb(set_queue.rate_seconds), set_queue.rate_seconds IS DISTINCT FROM '-Infinity'),
                        ('MaxWaiting', to_jsonb(set_queue.max_waiting), set_queue.max_waiting IS DISTINCT FROM -2147483648))
                AS m(name, value, is_given)
          WHERE m.is_given), '{}'));
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.set_queue(text,boolean,integer,integer,boolean,integer,double precision,integer) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.set_queue(text,boolean,integer,integer,boolean,integer,double precision,integer) IS
    'Pauses or resumes a queue and changes its limits; what is left out stays as it is, NULL takes a limit away.';
-- It had one argument less. Rights that were granted on that one are granted on this one, and it is
-- dropped at once, as that of longhaul.enqueue.
DO $$
DECLARE
    earlier CONSTANT regprocedure := to_regprocedure('longhaul.set_queue(text,boolean,integer,integer,boolean,integer,double precision)');
    granted record;
BEGIN
    FOR granted IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS role, a.is_grantable
          FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE p.oid = earlier AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
           AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE 'GRANT EXECUTE ON FUNCTION longhaul.set_queue(text,boolean,integer,integer,boolean,integer,double precision,integer) TO ' || granted.role
                || CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
    IF earlier IS NOT NULL THEN
        EXECUTE 'DROP FUNCTION ' || earlier;
    END IF;
END $$;

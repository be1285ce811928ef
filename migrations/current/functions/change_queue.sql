-- Changes settings of a queue: those that `change` names, by the names of the API. The others
-- stay as they are, whoever changes them meanwhile. API, dashboard, command line and
-- longhaul.set_queue end here, and what a setting may be is said here alone. What is wrong is
-- an invalid_parameter_value, whose DETAIL is a JSON array of {"pointer", "message"}.
CREATE OR REPLACE FUNCTION longhaul.change_queue(name text, change jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong jsonb;
BEGIN
    PERFORM longhaul.check_task(change_queue.name, NULL, NULL, NULL);
    IF jsonb_typeof(change) IS DISTINCT FROM 'object' THEN
        wrong := '[{"pointer": "", "message": "An object is expected."}]';
    ELSE
        SELECT jsonb_agg(jsonb_build_object('pointer', '/' || left(replace(replace(m.name, '~', '~0'), '/', '~1'), 200),
                                            'message', m.problem) ORDER BY m.name COLLATE "C")
          INTO wrong
          FROM (SELECT given.key AS name,
                       CASE WHEN known.name IS NULL THEN
                                'Unknown member; the known ones are Paused, MaxRunning, MaxPerKey, Fair, RateCount, RateSeconds, MaxWaiting.'
                            WHEN known.least IS NULL THEN
                                CASE WHEN jsonb_typeof(given.value) <> 'boolean' THEN 'true or false is expected.' END
                            WHEN jsonb_typeof(given.value) = 'null' THEN NULL
                            WHEN CASE WHEN jsonb_typeof(given.value) = 'number'
                                      THEN given.value::numeric BETWEEN known.least AND known.most
                                           AND (known.fraction OR given.value::numeric = trunc(given.value::numeric)) END THEN NULL
                            WHEN known.fraction THEN
                                'A number of seconds from 0.001 to 31622400 (366 days), or null for no limit, is expected.'
                            ELSE format('A whole number from %s on, or null for no limit, is expected.', known.least) END AS problem
                  FROM jsonb_each(change) AS given
                  LEFT JOIN (VALUES ('Paused', NULL, NULL, false), ('Fair', NULL, NULL, false),
                                    ('MaxRunning', 0, 2147483647, false), ('MaxPerKey', 0, 2147483647, false),
                                    ('RateCount', 1, 2147483647, false), ('RateSeconds', 0.001, 31622400, true),
                                    ('MaxWaiting', 0, 2147483647, false))
                       AS known(name, least, most, fraction) ON known.name = given.key
                 LIMIT 100) AS m
         WHERE m.problem IS NOT NULL;
    END IF;
    IF wrong IS NULL THEN
        BEGIN
            -- First the row: as an insertion that becomes an update, half of a rate would be checked alone.
            INSERT INTO longhaul.queue (name) VALUES (change_queue.name) ON CONFLICT ON CONSTRAINT queue_pkey DO NOTHING;
            UPDATE longhaul.queue q
               SET paused_at = CASE (change ->> 'Paused')::boolean WHEN true THEN coalesce(q.paused_at, now())
                                                                   WHEN false THEN NULL ELSE q.paused_at END,
                   max_running = CASE WHEN change ? 'MaxRunning' THEN (change ->> 'MaxRunning')::numeric::integer ELSE q.max_running END,
                   max_per_key = CASE WHEN change ? 'MaxPerKey' THEN (change ->> 'MaxPerKey')::numeric::integer ELSE q.max_per_key END,
                   fair = coalesce((change ->> 'Fair')::boolean, q.fair),
                   rate_count = CASE WHEN change ? 'RateCount' THEN (change ->> 'RateCount')::numeric::integer ELSE q.rate_count END,
                   rate_seconds = CASE WHEN change ? 'RateSeconds' THEN (change ->> 'RateSeconds')::double precision ELSE q.rate_seconds END,
                   max_waiting = CASE WHEN change ? 'MaxWaiting' THEN (change ->> 'MaxWaiting')::numeric::integer ELSE q.max_waiting END,
                   revision = q.revision + 1,
                   gating = CASE WHEN q.gated THEN q.gating ELSE q.gating + 1 END
             WHERE q.name = change_queue.name;
        EXCEPTION WHEN check_violation THEN
            -- The one that depends on what stays as it is.
            wrong := '[{"pointer": "/RateCount", "message": "RateCount and RateSeconds go together: set both, or null both."}]';
        END;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'the queue % can''t be changed so: %', change_queue.name,
            (SELECT string_agg(concat_ws(': ', nullif(w ->> 'pointer', ''), w ->> 'message'), ' ') FROM jsonb_array_elements(wrong) AS w)
            USING ERRCODE = 'invalid_parameter_value', DETAIL = wrong::text;
    END IF;
    -- The API writes down its callers itself.
    INSERT INTO longhaul.audit (who, deed, target, details)
    SELECT o.who, 'changeQueue', change_queue.name, change FROM longhaul.outsider() AS o(who) WHERE o.who IS NOT NULL;
    PERFORM pg_notify('longhaul_gate', '');
END $$;
COMMENT ON FUNCTION longhaul.change_queue(text,jsonb) IS
    'Changes the settings of a queue that the JSON names; null takes a limit away.';
-- Where it is new, whoever may call longhaul.set_queue, with today's arguments or those of before,
-- may call it.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT r.rolname AS role, a.is_grantable
          FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
         WHERE p.oid IN (to_regprocedure('longhaul.set_queue(text,boolean,integer,integer,boolean,integer,double precision)'),
                         to_regprocedure('longhaul.set_queue(text,boolean,integer,integer,boolean,integer,double precision,integer)'))
           AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
           AND (SELECT n.proacl IS NULL FROM pg_proc n WHERE n.oid = 'longhaul.change_queue(text,jsonb)'::regprocedure)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION longhaul.change_queue(text,jsonb) TO %I', granted.role)
                || CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.change_queue(text,jsonb) FROM PUBLIC;

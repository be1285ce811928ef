-- Uniqueness for tasks that SQL and schedules store, as requests have had it.

SET LOCAL lock_timeout = '5s';

-- How long a type's unique key keeps others out (TaskType::UNIQUE_FOR); NULL: until the
-- task ends. Processes write it when they register, older ones leave it NULL.
ALTER TABLE longhaul.task_type ADD COLUMN unique_seconds double precision CHECK (unique_seconds > 0);

-- What makes each firing's task the same as another (TaskType::unique_key), in the form
-- in which task.unique_key has it.
ALTER TABLE longhaul.schedule ADD COLUMN unique_key text;

-- Takes a key for a task unless another task has it: NULL if it is taken now, else
-- the other task's id. Waits for a transaction that is taking the key.
CREATE FUNCTION longhaul.take_key(key text, task_id uuid, seconds double precision) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    holder uuid;
BEGIN
    LOOP
        INSERT INTO longhaul.task_key AS known (key, task_id, fingerprint, expires_at)
        VALUES (take_key.key, take_key.task_id, sha256(''), now() + take_key.seconds * interval '1 second')
        ON CONFLICT ON CONSTRAINT task_key_pkey DO UPDATE
           SET task_id = excluded.task_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
         WHERE known.expires_at <= now()
        RETURNING NULL::uuid INTO holder;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT k.task_id INTO holder FROM longhaul.task_key k WHERE k.key = take_key.key;
        IF FOUND THEN
            RETURN holder;
        END IF;
        -- It was given back between the two statements.
    END LOOP;
END
$$;

-- The function gets two more arguments, which makes it another function: the rights
-- that were granted on the old one are granted on the new one.
DO $$
DECLARE
    old_rights CONSTANT aclitem[] :=
        (SELECT proacl FROM pg_proc
          WHERE oid = 'longhaul.enqueue(text, jsonb, timestamptz, integer, text, integer, text, text)'::regprocedure);
    granted record;
BEGIN
    DROP FUNCTION longhaul.enqueue(text, jsonb, timestamptz, integer, text, integer, text, text);

    CREATE FUNCTION longhaul.enqueue(
        type         text,
        parameters   jsonb       DEFAULT '{}',
        run_at       timestamptz DEFAULT NULL,
        priority     integer     DEFAULT NULL,
        queue        text        DEFAULT NULL,
        max_attempts integer     DEFAULT NULL,
        created_by   text        DEFAULT NULL,
        key          text        DEFAULT NULL,
        unique_key   text        DEFAULT NULL,
        unique_for   interval    DEFAULT NULL
    ) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $function$
    #variable_conflict use_column
    DECLARE
        known   longhaul.task_type;
        new_id  uuid := longhaul.new_id();
        other   uuid;
        later   boolean := coalesce(enqueue.run_at > now(), false);
        kept_as text;
    BEGIN
        SELECT * INTO known FROM longhaul.task_type y WHERE y.name = enqueue.type;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'longhaul.enqueue: % is not a task type; the known ones are %',
                coalesce(quote_literal(left(enqueue.type, 100)), 'NULL'),
                coalesce((SELECT string_agg(y.name, ', ' ORDER BY y.name) FROM longhaul.task_type y), 'none')
                USING ERRCODE = 'undefined_object',
                      HINT = 'Types are made known by API and worker processes when they start.';
        END IF;
        IF enqueue.parameters IS NULL OR jsonb_typeof(enqueue.parameters) <> 'object' THEN
            RAISE EXCEPTION 'longhaul.enqueue: parameters must be a JSON object such as {"ProjectId": "…"}'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF enqueue.priority NOT BETWEEN 0 AND 9 THEN
            RAISE EXCEPTION 'longhaul.enqueue: priority % is not from 0 (first) to 9 (last)', enqueue.priority
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF enqueue.max_attempts NOT BETWEEN 1 AND 1000 THEN
            RAISE EXCEPTION 'longhaul.enqueue: max_attempts % is not from 1 to 1000', enqueue.max_attempts
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF enqueue.queue = '' OR length(enqueue.queue) > 100 THEN
            RAISE EXCEPTION 'longhaul.enqueue: a queue has a name of 1 to 100 characters'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF enqueue.run_at > now() + interval '3652 days' THEN
            RAISE EXCEPTION 'longhaul.enqueue: run_at % is more than 3652 days ahead', enqueue.run_at
                USING ERRCODE = 'datetime_field_overflow';
        END IF;
        IF octet_length(enqueue.unique_key) NOT BETWEEN 1 AND 500 THEN
            RAISE EXCEPTION 'longhaul.enqueue: a unique_key has 1 to 500 bytes; take a digest of a longer one'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF enqueue.unique_for <= interval '0' OR enqueue.unique_for > interval '3652 days' THEN
            RAISE EXCEPTION 'longhaul.enqueue: unique_for % is not above 0 and at most 3652 days', enqueue.unique_for
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF enqueue.unique_for IS NOT NULL AND enqueue.unique_key IS NULL THEN
            RAISE EXCEPTION 'longhaul.enqueue: unique_for needs a unique_key'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;

        IF enqueue.unique_key IS NOT NULL THEN
            kept_as := 'u:' || known.name || ':' || enqueue.unique_key;
            other := longhaul.take_key(kept_as, new_id,
                                       coalesce(extract(epoch FROM enqueue.unique_for)::float8, known.unique_seconds));
            IF other IS NOT NULL THEN
                RETURN known.id_prefix || other;
            END IF;
        END IF;
        INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by, key, unique_key,
                                   state, run_at)
        VALUES (new_id, known.name, coalesce(enqueue.queue, known.queue), coalesce(enqueue.priority, known.priority),
                coalesce(enqueue.max_attempts, known.max_attempts), enqueue.parameters,
                coalesce(enqueue.created_by, session_user), enqueue.key, kept_as,
                CASE WHEN later THEN 'Scheduled' ELSE 'Queued' END::longhaul.task_state,
                CASE WHEN later THEN enqueue.run_at END);
        IF later THEN
            INSERT INTO longhaul.scheduled (run_at, id) VALUES (enqueue.run_at, new_id);
        ELSE
            INSERT INTO longhaul.ready (queue, priority, id)
            VALUES (coalesce(enqueue.queue, known.queue), coalesce(enqueue.priority, known.priority), new_id);
            PERFORM pg_notify('longhaul_ready', coalesce(enqueue.queue, known.queue));
        END IF;
        RETURN known.id_prefix || new_id;
    END
    $function$;

    REVOKE EXECUTE ON FUNCTION longhaul.enqueue FROM PUBLIC;
    FOR granted IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS role, a.is_grantable
          FROM aclexplode(old_rights) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE a.privilege_type = 'EXECUTE' AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE 'GRANT EXECUTE ON FUNCTION longhaul.enqueue TO ' || granted.role
                || CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
END
$$;

COMMENT ON FUNCTION longhaul.enqueue IS
    'Stores a task in the caller''s transaction and returns its public id, or that of the task with its unique key. Workers see it after the commit.';

-- Tasks from SQL: any language, any trigger, inside the caller's transaction.

-- The function needs a type's usual priority; processes write it when they
-- register, older ones leave the default.
ALTER TABLE longhaul.task_type
    ADD COLUMN priority smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9);

-- A UUIDv7 (RFC 9562) with the database's time: 48 bits of milliseconds, 12 bits
-- of the millisecond's fraction (its section 6.2, method 3), 62 random bits. So
-- ids grow from one microsecond to the next. PostgreSQL 18 has uuidv7(); this
-- works from 14 on.
CREATE FUNCTION longhaul.new_id() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog
AS $$
    SELECT (lpad(to_hex(at.us / 1000), 12, '0')
            || to_hex((x'7000'::int + (at.us % 1000) * 4096 / 1000)::int)
            || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid
      FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS at
$$;

-- It runs with the rights of its owner, so that an application needs none on the
-- tables: GRANT USAGE ON SCHEMA longhaul and EXECUTE on this function suffice.
CREATE FUNCTION longhaul.enqueue(
    type         text,
    parameters   jsonb       DEFAULT '{}',
    run_at       timestamptz DEFAULT NULL,
    priority     integer     DEFAULT NULL,
    queue        text        DEFAULT NULL,
    max_attempts integer     DEFAULT NULL,
    created_by   text        DEFAULT NULL,
    key          text        DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known  longhaul.task_type;
    new_id uuid := longhaul.new_id();
    later  boolean := coalesce(enqueue.run_at > now(), false);
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

    INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by, key, state,
                               run_at)
    VALUES (new_id, known.name, coalesce(enqueue.queue, known.queue), coalesce(enqueue.priority, known.priority),
            coalesce(enqueue.max_attempts, known.max_attempts), enqueue.parameters,
            coalesce(enqueue.created_by, session_user), enqueue.key,
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
$$;

REVOKE EXECUTE ON FUNCTION longhaul.enqueue(text, jsonb, timestamptz, integer, text, integer, text, text) FROM PUBLIC;

COMMENT ON FUNCTION longhaul.enqueue IS
    'Stores a task in the caller''s transaction and returns its public id. Workers see it after the commit.';

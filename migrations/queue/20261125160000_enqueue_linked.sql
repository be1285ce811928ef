-- Tasks that belong together from SQL: any language, any trigger, inside the caller's
-- transaction. With the rights of their owner, as longhaul.enqueue.

-- A type by its name, for the functions below.
CREATE FUNCTION longhaul.known_type(name text) RETURNS longhaul.task_type
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known longhaul.task_type;
BEGIN
    SELECT * INTO known FROM longhaul.task_type y WHERE y.name = known_type.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not a task type; the known ones are %',
            coalesce(quote_literal(left(known_type.name, 100)), 'NULL'),
            coalesce((SELECT string_agg(y.name, ', ' ORDER BY y.name) FROM longhaul.task_type y), 'none')
            USING ERRCODE = 'undefined_object',
                  HINT = 'Types are made known by API and worker processes when they start.';
    END IF;
    RETURN known;
END
$$;

-- Stores a task that waits for others, and returns its public id.
CREATE FUNCTION longhaul.enqueue_after(
    after      text[],
    type       text,
    parameters jsonb DEFAULT '{}',
    if_failed  text  DEFAULT 'Cancel'
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known   longhaul.task_type := longhaul.known_type(enqueue_after.type);
    new_task uuid := longhaul.new_id();
    earlier uuid[];
    unknown uuid[];
BEGIN
    IF enqueue_after.if_failed IS NULL OR enqueue_after.if_failed NOT IN ('Cancel', 'Fail', 'Run') THEN
        RAISE EXCEPTION 'longhaul.enqueue_after: if_failed must be Cancel, Fail or Run'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue_after.parameters IS NULL OR jsonb_typeof(enqueue_after.parameters) <> 'object' THEN
        RAISE EXCEPTION 'longhaul.enqueue_after: parameters must be a JSON object such as {"ProjectId": "…"}'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(cardinality(enqueue_after.after), 0) = 0 THEN
        RAISE EXCEPTION 'longhaul.enqueue_after: name at least one task to wait for, or call longhaul.enqueue'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT array_agg(DISTINCT right(a.id, 36)::uuid) INTO earlier FROM unnest(enqueue_after.after) AS a(id);
    unknown := longhaul.follow_ends(earlier);
    IF cardinality(unknown) > 0 THEN
        RAISE EXCEPTION 'longhaul.enqueue_after: there is no task %', array_to_string(unknown, ', ')
            USING ERRCODE = 'no_data_found';
    END IF;
    INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by, state)
    VALUES (new_task, known.name, known.queue, known.priority, known.max_attempts, enqueue_after.parameters,
            session_user, 'Queued');
    INSERT INTO longhaul.dependency (task_id, on_id, if_failed)
    SELECT new_task, e.id, enqueue_after.if_failed FROM unnest(earlier) AS e(id);
    INSERT INTO longhaul.blocked (id, open) VALUES (new_task, cardinality(earlier));
    RETURN known.id_prefix || new_task;
END
$$;

-- Stores one task for each of these parameters as the children of a Batch, in one
-- statement however many, and returns the Batch's public id.
CREATE FUNCTION longhaul.enqueue_batch(
    type       text,
    parameters jsonb[],
    if_failed  text DEFAULT 'Continue'
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known  longhaul.task_type := longhaul.known_type(enqueue_batch.type);
    batch  longhaul.task_type := longhaul.known_type('Batch');
    parent uuid := longhaul.new_id();
    number integer := cardinality(enqueue_batch.parameters);
BEGIN
    IF enqueue_batch.if_failed IS NULL OR enqueue_batch.if_failed NOT IN ('Continue', 'Cancel', 'Ignore') THEN
        RAISE EXCEPTION 'longhaul.enqueue_batch: if_failed must be Continue, Cancel or Ignore'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(number, 0) = 0
       OR EXISTS (SELECT FROM unnest(enqueue_batch.parameters) AS p(one) WHERE jsonb_typeof(p.one) IS DISTINCT FROM 'object') THEN
        RAISE EXCEPTION 'longhaul.enqueue_batch: parameters must be an array of at least one JSON object'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, created_by, total_elements, state, attempt,
                               started_at, followed)
    VALUES (parent, batch.name, batch.queue, batch.priority, 1, session_user, number, 'Running', 1, now(), true);
    INSERT INTO longhaul.family (parent_id, children, if_failed, waiting, resume)
    VALUES (parent, number, enqueue_batch.if_failed, true, false);
    WITH input AS MATERIALIZED (
        SELECT longhaul.new_id() AS id, p.one, p.place FROM unnest(enqueue_batch.parameters) WITH ORDINALITY AS p(one, place)
    ), stored AS (
        INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by, state, parent_id, followed)
        SELECT i.id, known.name, known.queue, known.priority, known.max_attempts, i.one, session_user, 'Queued', parent, true
          FROM input i
    ), children AS (
        INSERT INTO longhaul.child (parent_id, number, id) SELECT parent, i.place, i.id FROM input i
    )
    INSERT INTO longhaul.ready (queue, priority, id) SELECT known.queue, known.priority, i.id FROM input i;
    PERFORM pg_notify('longhaul_ready', known.queue);
    RETURN batch.id_prefix || parent;
END
$$;

REVOKE EXECUTE ON FUNCTION longhaul.enqueue_after FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION longhaul.enqueue_batch FROM PUBLIC;

COMMENT ON FUNCTION longhaul.enqueue_after IS
    'Stores a task that waits for the ends of others, named by their ids, and returns its public id.';
COMMENT ON FUNCTION longhaul.enqueue_batch IS
    'Stores one task for each of these parameters, as the children of one more, whose public id it returns.';

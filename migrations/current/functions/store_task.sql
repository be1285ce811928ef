-- What longhaul.enqueue does, without asking who calls: for functions of the owner. Some call it
-- without the last two arguments (records.deliver_webhook), which it did not have once.
DROP FUNCTION IF EXISTS longhaul.store_task(text,jsonb,timestamp with time zone,integer,text,integer,text,text,text,interval);
CREATE OR REPLACE FUNCTION longhaul.store_task(
    type         text,
    parameters   jsonb,
    run_at       timestamptz,
    priority     integer,
    queue        text,
    max_attempts integer,
    created_by   text,
    key          text,
    unique_key   text,
    unique_for   interval,
    timeout      interval DEFAULT NULL,
    tags         text[]   DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known   longhaul.task_type;
    new_id  uuid := longhaul.new_id();
    other   uuid;
    later   boolean := coalesce(store_task.run_at > now(), false);
    kept_as text;
BEGIN
    SELECT * INTO known FROM longhaul.task_type y WHERE y.name = store_task.type;
    IF NOT FOUND THEN
        PERFORM longhaul.refuse_type(store_task.type, 'longhaul.enqueue: ');
    END IF;
    IF known.secret THEN
        PERFORM longhaul.refuse_secrets(known, store_task.parameters);
    END IF;
    PERFORM longhaul.check_parameters(store_task.parameters);
    IF num_nonnulls(store_task.queue, store_task.key, store_task.unique_key, store_task.created_by) > 0 THEN
        PERFORM longhaul.check_task(store_task.queue, store_task.key, store_task.unique_key, store_task.created_by);
    END IF;
    -- One expression for all: each takes a microsecond or two in a new transaction.
    IF num_nonnulls(store_task.priority, store_task.max_attempts, store_task.run_at, store_task.unique_for,
                    store_task.timeout, store_task.tags) > 0 THEN
        IF store_task.priority NOT BETWEEN 0 AND 9 THEN
            RAISE EXCEPTION 'longhaul.enqueue: priority % is not from 0 (first) to 9 (last)', store_task.priority
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF store_task.max_attempts NOT BETWEEN 1 AND 1000 THEN
            RAISE EXCEPTION 'longhaul.enqueue: max_attempts % is not from 1 to 1000', store_task.max_attempts
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF store_task.run_at > now() + interval '3652 days' THEN
            RAISE EXCEPTION 'longhaul.enqueue: run_at % is more than 3652 days ahead', store_task.run_at
                USING ERRCODE = 'datetime_field_overflow';
        END IF;
        IF store_task.unique_for <= interval '0' OR store_task.unique_for > interval '3652 days' THEN
            RAISE EXCEPTION 'longhaul.enqueue: unique_for % is not above 0 and at most 3652 days', store_task.unique_for
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF store_task.timeout < interval '1 millisecond' OR store_task.timeout > interval '366 days' THEN
            RAISE EXCEPTION 'longhaul.enqueue: timeout % is not from 1 millisecond to 366 days', store_task.timeout
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF store_task.tags IS NOT NULL THEN
            PERFORM longhaul.check_tags(store_task.tags);
        END IF;
        IF store_task.unique_for IS NOT NULL AND store_task.unique_key IS NULL THEN
            RAISE EXCEPTION 'longhaul.enqueue: unique_for needs a unique_key'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END IF;

    IF store_task.unique_key IS NOT NULL THEN
        kept_as := 'u:' || known.name || ':' || store_task.unique_key;
        other := longhaul.take_key(kept_as, new_id,
                                   coalesce(extract(epoch FROM store_task.unique_for)::float8, known.unique_seconds));
        IF other IS NOT NULL THEN
            RETURN known.id_prefix || other;
        END IF;
    END IF;
    INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by, key, unique_key,
                               state, run_at, timeout_seconds, tags)
    VALUES (new_id, known.name, coalesce(store_task.queue, known.queue), coalesce(store_task.priority, known.priority),
            coalesce(store_task.max_attempts, known.max_attempts), store_task.parameters,
            store_task.created_by, store_task.key, kept_as,
            CASE WHEN later THEN 'Scheduled' ELSE 'Queued' END::longhaul.task_state,
            CASE WHEN later THEN store_task.run_at END,
            extract(epoch FROM store_task.timeout)::float8, nullif(store_task.tags, '{}'));
    IF cardinality(store_task.tags) > 0 THEN
        INSERT INTO longhaul.task_tag (tag, task_id) SELECT t.tag, new_id FROM unnest(store_task.tags) AS t(tag);
    END IF;
    -- Fused for speed (make_ready.sql).
    IF later THEN
        INSERT INTO longhaul.scheduled (run_at, id) VALUES (store_task.run_at, new_id);
    ELSE
        INSERT INTO longhaul.ready (queue, priority, id)
        VALUES (coalesce(store_task.queue, known.queue), coalesce(store_task.priority, known.priority), new_id);
        PERFORM longhaul.wake(coalesce(store_task.queue, known.queue));
    END IF;
    RETURN known.id_prefix || new_id;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.store_task(text,jsonb,timestamp with time zone,integer,text,integer,text,text,text,interval,interval,text[]) FROM PUBLIC;

-- Stores a task that waits for others, and returns its public id.
CREATE OR REPLACE FUNCTION longhaul.enqueue_after(
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
    maker   text := longhaul.started_by(enqueue_after.type, NULL);
    new_task uuid := longhaul.new_id();
    earlier uuid[];
    unknown uuid[];
BEGIN
    IF known.secret THEN
        PERFORM longhaul.refuse_secrets(known, enqueue_after.parameters);
    END IF;
    IF enqueue_after.if_failed IS NULL OR enqueue_after.if_failed NOT IN ('Cancel', 'Fail', 'Run') THEN
        RAISE EXCEPTION 'longhaul.enqueue_after: if_failed must be Cancel, Fail or Run'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM longhaul.check_parameters(enqueue_after.parameters);
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
    PERFORM longhaul.store_tasks(
        ARRAY[new_task], ARRAY[known.name], ARRAY[known.queue], ARRAY[known.priority], ARRAY[known.max_attempts],
        ARRAY[enqueue_after.parameters], ARRAY[maker],
        waiting => array_fill(new_task, ARRAY[cardinality(earlier)]), waits_for => earlier,
        if_failed => array_fill(enqueue_after.if_failed, ARRAY[cardinality(earlier)]));
    RETURN known.id_prefix || new_task;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.enqueue_after(text[],text,jsonb,text) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.enqueue_after(text[],text,jsonb,text) IS
    'Stores a task that waits for the ends of others, named by their ids, and returns its public id.';

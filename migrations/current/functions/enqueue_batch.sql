-- Stores one task for each of these parameters as the children of a Batch, in one
-- statement however many, and returns the Batch's public id.
CREATE OR REPLACE FUNCTION longhaul.enqueue_batch(
    type       text,
    parameters jsonb[],
    if_failed  text DEFAULT 'Continue'
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known  longhaul.task_type := longhaul.known_type(enqueue_batch.type);
    maker  text := longhaul.started_by(enqueue_batch.type, NULL);
    batch  longhaul.task_type := longhaul.known_type('Batch');
    parent uuid := longhaul.new_id();
    number integer := cardinality(enqueue_batch.parameters);
BEGIN
    IF known.secret THEN
        PERFORM longhaul.refuse_secrets(known, NULL);
    END IF;
    IF enqueue_batch.if_failed IS NULL OR enqueue_batch.if_failed NOT IN ('Continue', 'Cancel', 'Ignore') THEN
        RAISE EXCEPTION 'longhaul.enqueue_batch: if_failed must be Continue, Cancel or Ignore'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(number, 0) = 0
       OR EXISTS (SELECT FROM unnest(enqueue_batch.parameters) AS p(one) WHERE jsonb_typeof(p.one) IS DISTINCT FROM 'object') THEN
        RAISE EXCEPTION 'longhaul.enqueue_batch: parameters must be an array of at least one JSON object'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM longhaul.check_parameters(p.one) FROM unnest(enqueue_batch.parameters) AS p(one);
    PERFORM longhaul.begin_batch(parent, batch.name, batch.queue, batch.priority, '{}', maker, number,
                                 enqueue_batch.if_failed, NULL);
    PERFORM longhaul.store_tasks(
        ARRAY(SELECT longhaul.new_id() FROM generate_series(1, number)),
        array_fill(known.name, ARRAY[number]), array_fill(known.queue, ARRAY[number]),
        array_fill(known.priority, ARRAY[number]), array_fill(known.max_attempts, ARRAY[number]),
        enqueue_batch.parameters, array_fill(maker, ARRAY[number]), parent => parent);
    RETURN batch.id_prefix || parent;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.enqueue_batch(text,jsonb[],text) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.enqueue_batch(text,jsonb[],text) IS
    'Stores one task for each of these parameters, as the children of one more, whose public id it returns.';

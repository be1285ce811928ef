-- Stores a task that does nothing but wait for its children, which longhaul.store_tasks stores in the
-- same transaction.
CREATE OR REPLACE FUNCTION longhaul.begin_batch(
    id             uuid,
    type           text,
    queue          text,
    priority       smallint,
    parameters     jsonb,
    created_by     text,
    total_elements bigint,
    if_failed      text,
    trace_context  text
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by, total_elements,
                               state, attempt, started_at, followed, trace_context)
    VALUES (begin_batch.id, begin_batch.type, begin_batch.queue, begin_batch.priority, 1, begin_batch.parameters,
            begin_batch.created_by, begin_batch.total_elements, 'Running', 1, now(), true, begin_batch.trace_context);
    INSERT INTO longhaul.family (parent_id, children, if_failed, waiting, resume)
    VALUES (begin_batch.id, 0, begin_batch.if_failed, true, false);
END
$$;

-- Stores tasks, whatever they wait for: a task that waits for others is blocked, one that comes later
-- is scheduled, and all others are ready. This is the general statement. For speed, tasks that have no
-- parent and wait for no other task do without it: the statements of
-- crates/model/src/store/enqueue.rs and bulk.rs, and longhaul.store_task. A test compares what they
-- do to every table with what this does (tests/tests/ends.rs).
--
-- Each array but the last three has a value for each task. NULL stands for a column that no task
-- has. A task with the nil UUID gets a new id. `tags` has arrays, each as text. The tasks `waiting`
-- wait for those in `waits_for`, pair by pair. With a parent, the tasks are its next children, and
-- have its creator unless they have their own. The caller has checked the tasks and taken their
-- unique keys.
CREATE OR REPLACE FUNCTION longhaul.store_tasks(
    ids                uuid[],
    types              text[],
    queues             text[],
    priorities         smallint[],
    max_attempts       smallint[],
    parameters         jsonb[],
    created_by         text[]             DEFAULT NULL,
    total_elements     bigint[]           DEFAULT NULL,
    processed_elements bigint[]           DEFAULT NULL,
    fractions          double precision[] DEFAULT NULL,
    messages           text[]             DEFAULT NULL,
    keys               text[]             DEFAULT NULL,
    unique_keys        text[]             DEFAULT NULL,
    trace_contexts     text[]             DEFAULT NULL,
    run_at             timestamptz[]      DEFAULT NULL,
    timeouts           double precision[] DEFAULT NULL,
    tags               text[]             DEFAULT NULL,
    waiting            uuid[]             DEFAULT NULL,
    waits_for          uuid[]             DEFAULT NULL,
    if_failed          text[]             DEFAULT NULL,
    parent             uuid               DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    nil CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    creator text;
    before integer;
    ready_ids uuid[];
    ready_queues text[];
    ready_priorities smallint[];
    later_ids uuid[];
    later_at timestamptz[];
BEGIN
    IF nil = ANY (ids) THEN
        ids := ARRAY(SELECT coalesce(nullif(i.id, nil), longhaul.new_id())
                       FROM unnest(store_tasks.ids) WITH ORDINALITY AS i(id, number) ORDER BY i.number);
    END IF;
    IF parent IS NOT NULL THEN
        INSERT INTO longhaul.family AS f (parent_id, children, if_failed, waiting, resume)
        VALUES (store_tasks.parent, cardinality(store_tasks.ids), 'Continue', false, true)
            ON CONFLICT (parent_id) DO UPDATE SET children = f.children + excluded.children
        RETURNING f.children - cardinality(store_tasks.ids) INTO before;
        SELECT p.created_by INTO creator FROM longhaul.task p WHERE p.id = store_tasks.parent;
    END IF;
    -- Side by side, unnest()s give row after row; as one in FROM, each would first be stored as a whole.
    WITH given AS (
        SELECT unnest(store_tasks.ids) AS id, unnest(store_tasks.types) AS type, unnest(store_tasks.queues) AS queue,
               unnest(store_tasks.priorities) AS priority, unnest(store_tasks.max_attempts) AS max_attempts,
               unnest(store_tasks.parameters) AS parameters, unnest(store_tasks.created_by) AS created_by,
               unnest(store_tasks.total_elements) AS total_elements,
               unnest(store_tasks.processed_elements) AS processed_elements, unnest(store_tasks.fractions) AS fraction,
               unnest(store_tasks.messages) AS message, unnest(store_tasks.keys) AS key,
               unnest(store_tasks.unique_keys) AS unique_key, unnest(store_tasks.trace_contexts) AS trace_context,
               unnest(store_tasks.run_at) AS run_at, unnest(store_tasks.timeouts) AS timeout_seconds,
               unnest(store_tasks.tags)::text[] AS tags
    ), input AS MATERIALIZED (
        SELECT g.*, g.run_at > now() IS TRUE AS later,
               g.id IN (SELECT unnest(store_tasks.waiting)) AS blocked,
               store_tasks.parent IS NOT NULL OR g.id IN (SELECT unnest(store_tasks.waits_for)) AS followed
          FROM given g
    ), stored AS (
        INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by, total_elements,
                                   processed_elements, fraction, message, key, unique_key, trace_context,
                                   timeout_seconds, tags, state, run_at, parent_id, followed)
        SELECT i.id, i.type, i.queue, i.priority, i.max_attempts, i.parameters, coalesce(i.created_by, creator),
               coalesce(i.total_elements, 0), coalesce(i.processed_elements, 0), coalesce(i.fraction, 0), i.message,
               i.key, i.unique_key, i.trace_context, i.timeout_seconds, i.tags,
               CASE WHEN i.later AND NOT i.blocked THEN 'Scheduled' ELSE 'Queued' END::longhaul.task_state,
               CASE WHEN i.later THEN i.run_at END, store_tasks.parent,
               CASE WHEN i.followed THEN true END
          FROM input i
    )
    SELECT array_agg(i.id) FILTER (WHERE NOT i.later), array_agg(i.queue) FILTER (WHERE NOT i.later),
           array_agg(i.priority) FILTER (WHERE NOT i.later),
           array_agg(i.id) FILTER (WHERE i.later), array_agg(i.run_at) FILTER (WHERE i.later)
      INTO ready_ids, ready_queues, ready_priorities, later_ids, later_at
      FROM input i
     WHERE NOT i.blocked;
    IF waiting <> '{}' THEN
        INSERT INTO longhaul.dependency (task_id, on_id, if_failed)
        SELECT unnest(store_tasks.waiting), unnest(store_tasks.waits_for), unnest(store_tasks.if_failed);
        INSERT INTO longhaul.blocked (id, open)
        SELECT w.id, count(*) FROM unnest(store_tasks.waiting) AS w(id) GROUP BY w.id;
    END IF;
    IF parent IS NOT NULL THEN
        INSERT INTO longhaul.child (parent_id, number, id)
        SELECT store_tasks.parent, before + c.number, c.id
          FROM unnest(store_tasks.ids) WITH ORDINALITY AS c(id, number);
    END IF;
    IF tags IS NOT NULL THEN
        INSERT INTO longhaul.task_tag (tag, task_id)
        SELECT unnest(c.tags::text[]), c.id
          FROM (SELECT unnest(store_tasks.ids) AS id, unnest(store_tasks.tags) AS tags) AS c WHERE c.tags IS NOT NULL;
    END IF;
    IF later_ids IS NOT NULL THEN
        INSERT INTO longhaul.scheduled (run_at, id) SELECT unnest(later_at), unnest(later_ids);
    END IF;
    PERFORM longhaul.make_ready(ready_ids, ready_queues, ready_priorities);
END
$$;

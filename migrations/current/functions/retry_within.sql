-- Runs a failed or cancelled task again, with as many attempts as its type has, from its
-- last checkpoint. 'Queued' if so; 'Open' if it is not over, 'Succeeded' if it ended well,
-- 'Taken' if another open task has its unique key, 'Exhausted' if it has no attempt left to
-- count; NULL if there is none. Tasks that ended because of it wait for it again; a Batch
-- runs its children that failed or were cancelled again, and so on.
--
-- Of these, only those in `only_of` if it is given: others that waited stay as they ended.
-- A part of a batch that is not among them is refused with all of it, since the batch could
-- not succeed without.
--
-- Level by level, each in a bounded number of statements: first everything that runs again
-- is brought back, then each finds its place. Rows are locked in the order of their ids
-- within a level.
CREATE OR REPLACE FUNCTION longhaul.retry_within(id uuid, only_of uuid[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- As in the sessions of workers (longhaul_worker::SESSION): one plan a statement, which reads
-- no table as a whole, however small it was when the plan was made, and is not compiled.
-- Compiling and planning anew at each level took nine tenths of the time of a long chain.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    -- Tasks to look at now, those of them that run again, and all that do.
    level uuid[] := ARRAY[retry_within.id];
    again uuid[];
    restarted uuid[] := '{}';
    -- Of those, the ones whose next state is their children's.
    parents uuid[] := '{}';
    t longhaul.task;
    new_parents uuid[];
    dependents uuid[];
    one uuid;
    queues text[];
    priorities smallint[];
BEGIN
    -- Not while the ends of its relatives are being followed.
    IF EXISTS (SELECT FROM longhaul.task o WHERE o.id = retry_within.id AND o.followed)
       OR EXISTS (SELECT FROM longhaul.family f WHERE f.parent_id = retry_within.id) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    END IF;
    WHILE cardinality(level) > 0 LOOP
        -- Some may still stand, ended, in a lease whose other tasks are at work. The lease comes
        -- before the task, as everywhere.
        UPDATE longhaul.lease l
           SET task_ids = ARRAY(SELECT u.id FROM unnest(l.task_ids) AS u(id)
                                 WHERE u.id NOT IN (SELECT o.id FROM longhaul.task o
                                                     WHERE o.id = ANY (level) AND o.state IN ('Failed', 'Cancelled'))),
               shortened = true
         WHERE l.task_ids && level
           AND EXISTS (SELECT FROM longhaul.task o
                        WHERE o.id = ANY (level) AND o.id = ANY (l.task_ids) AND o.state IN ('Failed', 'Cancelled'));
        SELECT array_agg(o.id) INTO again
          FROM (SELECT k.id, k.state, k.attempt FROM longhaul.task k WHERE k.id = ANY (level) ORDER BY k.id FOR UPDATE) AS o
         WHERE o.state IN ('Failed', 'Cancelled') AND o.attempt < 32767;
        -- A key that another task has keeps the task as it is. Keys longer than those that are
        -- taken today were never looked at, and may not fit into an index.
        WITH taken AS (
            INSERT INTO longhaul.task_key (key, task_id)
            SELECT o.unique_key, o.id FROM longhaul.task o
             WHERE o.id = ANY (again) AND octet_length(o.unique_key) <= 603 ORDER BY o.unique_key
                ON CONFLICT DO NOTHING
            RETURNING task_id
        )
        SELECT array_agg(o.id ORDER BY o.id) INTO again
          FROM longhaul.task o
         WHERE o.id = ANY (again)
           AND (o.unique_key IS NULL OR octet_length(o.unique_key) > 603 OR o.id IN (SELECT n.task_id FROM taken n)
                OR EXISTS (SELECT FROM longhaul.task_key k WHERE k.key = o.unique_key AND k.task_id = o.id));
        IF cardinality(restarted) = 0 AND again IS NULL THEN
            SELECT * INTO t FROM longhaul.task o WHERE o.id = retry_within.id;
            RETURN CASE WHEN NOT FOUND THEN NULL
                        WHEN t.state = 'Succeeded' THEN 'Succeeded'
                        WHEN t.state NOT IN ('Failed', 'Cancelled') THEN 'Open'
                        WHEN t.attempt >= 32767 THEN 'Exhausted'
                        ELSE 'Taken' END;
        END IF;
        EXIT WHEN again IS NULL;
        -- One by one, which appends in place; a whole array would be copied for each level.
        FOREACH one IN ARRAY again LOOP
            restarted := restarted || one;
        END LOOP;
        -- The ends of all, as they were, do not count any more.
        WITH old AS MATERIALIZED (
            SELECT o.id, o.state, o.attempt, o.parent_id, o.total_elements, o.processed_elements, o.fraction,
                   EXISTS (SELECT FROM longhaul.family f WHERE f.parent_id = o.id AND NOT f.resume) AS parts,
                   coalesce((SELECT y.max_attempts FROM longhaul.task_type y WHERE y.name = o.type), o.max_attempts)::integer AS attempts
              FROM longhaul.task o WHERE o.id = ANY (again)
        ), noted AS (
            DELETE FROM longhaul.ended e WHERE e.id = ANY (again) RETURNING e.id, e.edges_only
        ), requests AS (
            -- Requests that came just when the tasks ended.
            DELETE FROM longhaul.cancel_request c WHERE c.task_id = ANY (again)
        ), forgotten AS (
            DELETE FROM longhaul.unsuccessful u WHERE u.state IN ('Failed', 'Cancelled') AND u.task_id = ANY (again)
        ), changed AS (
            UPDATE longhaul.task o
               SET state = CASE WHEN old.parts THEN 'Running' ELSE 'Queued' END::longhaul.task_state,
                   finished_at = NULL, error = NULL, result = NULL, run_at = NULL, crashes = 0,
                   fraction = CASE WHEN o.checkpoint IS NULL AND NOT old.parts THEN 0 ELSE o.fraction END,
                   max_attempts = least(o.attempt::integer + old.attempts, 32767)
              FROM old
             -- Not `=`, which may become a look at all tasks (docs/performance.md).
             WHERE o.id = ANY (ARRAY[old.id])
        )
        UPDATE longhaul.family f
           SET failed = f.failed - c.failed, cancelled = f.cancelled - c.cancelled,
               elements = greatest(f.elements - c.elements, 0),
               unprocessed = greatest(f.unprocessed - c.unprocessed, 0), undone = greatest(f.undone - c.undone, 0)
          FROM (SELECT old.parent_id,
                       count(*) FILTER (WHERE old.state = 'Failed') AS failed,
                       count(*) FILTER (WHERE old.state = 'Cancelled') AS cancelled,
                       sum(greatest(old.total_elements, 1)) AS elements,
                       sum(CASE WHEN old.state = 'Failed' AND old.attempt > 0 THEN 0
                                ELSE greatest(old.total_elements, 1) - old.processed_elements END) AS unprocessed,
                       sum(CASE WHEN old.state = 'Failed' AND old.attempt > 0 THEN 0 ELSE 1 - old.fraction END) AS undone
                  FROM old LEFT JOIN noted ON noted.id = old.id
                 WHERE old.parent_id IS NOT NULL AND (noted.id IS NULL OR noted.edges_only)
                 GROUP BY old.parent_id) AS c
         WHERE f.parent_id = c.parent_id;
        WITH opened AS (
            UPDATE longhaul.dependency d SET outcome = NULL
             WHERE d.on_id = ANY (again) AND d.outcome = 'Broken' AND (only_of IS NULL OR d.task_id = ANY (only_of))
            RETURNING d.task_id
        )
        SELECT array_agg(DISTINCT o.task_id) INTO dependents FROM opened o;
        UPDATE longhaul.family f SET stopping = false, stopped_to = 0 WHERE f.parent_id = ANY (again);
        new_parents := ARRAY(SELECT f.parent_id FROM longhaul.family f WHERE f.parent_id = ANY (again) AND NOT f.resume);
        level := coalesce(dependents, '{}');
        IF cardinality(new_parents) > 0 THEN
            parents := parents || new_parents;
            IF EXISTS (SELECT FROM longhaul.child c JOIN longhaul.task o ON o.id = ANY (ARRAY[c.id])
                        WHERE c.parent_id = ANY (new_parents) AND c.id <> ALL (only_of) AND o.state IN ('Failed', 'Cancelled')) THEN
                RAISE EXCEPTION 'a part of a batch that would run again may not' USING ERRCODE = 'insufficient_privilege',
                    HINT = 'A batch runs again with all of its parts that did not succeed, or not at all.';
            END IF;
            -- Those that ended well are passed over by the next level.
            level := level || ARRAY(SELECT c.id FROM longhaul.child c WHERE c.parent_id = ANY (new_parents));
        END IF;
    END LOOP;

    IF cardinality(parents) > 0 THEN
        UPDATE longhaul.family f SET waiting = true WHERE f.parent_id = ANY (parents);
        INSERT INTO longhaul.ended (id) SELECT p.id FROM unnest(parents) AS p(id) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('longhaul_followed', '');
    END IF;
    WITH open AS MATERIALIZED (
        SELECT o.id, o.queue, o.priority,
               (SELECT count(*) FROM longhaul.dependency d WHERE d.task_id = o.id AND d.outcome IS NULL)::integer AS waits_for
          FROM longhaul.task o
         WHERE o.id = ANY (restarted) AND o.id <> ALL (parents)
    ), blocked AS (
        INSERT INTO longhaul.blocked (id, open) SELECT o.id, o.waits_for FROM open o WHERE o.waits_for > 0
    )
    SELECT array_agg(o.id), array_agg(o.queue), array_agg(o.priority) INTO again, queues, priorities
      FROM open o WHERE o.waits_for = 0;
    PERFORM longhaul.make_ready(again, queues, priorities);
    RETURN 'Queued';
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.retry_within(uuid,uuid[]) FROM PUBLIC;

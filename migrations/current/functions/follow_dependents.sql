-- Lets all dependents of these ended tasks go that are not set aside, or ends them.
CREATE OR REPLACE FUNCTION longhaul.follow_dependents(done uuid[]) RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT longhaul.follow_dependents(done, longhaul.dependents_to_follow(done)) $$;

-- Lets dependents of ended tasks go, or ends them: those of `done`, or only these of them.
CREATE OR REPLACE FUNCTION longhaul.follow_dependents(done uuid[], dependents uuid[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    waiting uuid[];
    ended uuid[];
    causes uuid[];
    free uuid[];
    queues text[];
    priorities smallint[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    -- In one order, as whoever cancels locks a task before its place.
    SELECT array_agg(locked.id) INTO waiting
      FROM (SELECT t.id FROM longhaul.task t
             WHERE t.id IN (SELECT d.task_id FROM longhaul.dependency d
                             WHERE d.on_id = ANY (done) AND d.outcome IS NULL AND d.task_id = ANY (dependents))
             ORDER BY t.id FOR NO KEY UPDATE) AS locked;
    IF waiting IS NULL THEN
        RETURN;
    END IF;
    WITH judged AS (
        UPDATE longhaul.dependency d
           SET outcome = CASE WHEN o.state = 'Succeeded' OR d.if_failed = 'Run' THEN 'Met' ELSE 'Broken' END
          FROM longhaul.task o
         WHERE o.id = ANY (done) AND o.finished_at IS NOT NULL AND d.on_id = o.id AND d.outcome IS NULL
           AND d.task_id = ANY (waiting)
        RETURNING d.task_id, d.outcome, d.if_failed, o.id AS on_id, o.type AS on_type, o.state AS on_state
    ), broken AS (
        SELECT DISTINCT ON (j.task_id) j.* FROM judged j WHERE j.outcome = 'Broken'
         ORDER BY j.task_id, j.if_failed DESC, j.on_id
    ), freed AS (
        UPDATE longhaul.blocked b SET open = b.open - met.number
          FROM (SELECT j.task_id, count(*) AS number FROM judged j
                 WHERE j.task_id NOT IN (SELECT task_id FROM broken) GROUP BY 1) AS met
         WHERE b.id = met.task_id
    ), unblocked AS (
        DELETE FROM longhaul.blocked b USING broken x WHERE b.id = x.task_id RETURNING b.id
    ), over AS (
        UPDATE longhaul.task t
           SET state = CASE x.if_failed WHEN 'Fail' THEN 'Failed' ELSE 'Cancelled' END::longhaul.task_state,
               finished_at = now(),
               error = jsonb_build_object(
                   'type', 'urn:longhaul:problem:dependency-failed', 'title', 'A task that it waited for did not succeed',
                   'status', 500, 'code', 'dependency-failed',
                   'detail', format('It waited for %s, which ended %s.',
                       coalesce((SELECT y.id_prefix FROM longhaul.task_type y WHERE y.name = x.on_type),
                                lower(x.on_type) || '-') || x.on_id, x.on_state))
          FROM broken x JOIN unblocked u ON u.id = x.task_id
         WHERE t.id = x.task_id AND t.finished_at IS NULL
        RETURNING t.id, x.on_id
    )
    SELECT array_agg(o.id), array_agg(o.on_id) INTO ended, causes FROM over o;
    IF ended IS NOT NULL THEN
        PERFORM longhaul.end_tasks(ended, false);
        PERFORM longhaul.note_consequences(ended, causes);
    END IF;
    -- A statement of its own, which sees the counts.
    WITH free AS (
        DELETE FROM longhaul.blocked b WHERE b.id = ANY (waiting) AND b.open = 0 RETURNING b.id
    ), queued AS (
        SELECT t.id, t.queue, t.priority, t.run_at FROM longhaul.task t JOIN free f ON f.id = t.id
    ), later AS (
        UPDATE longhaul.task t SET state = 'Scheduled' FROM queued q WHERE t.id = q.id AND q.run_at > now()
        RETURNING t.run_at, t.id
    ), scheduled AS (
        INSERT INTO longhaul.scheduled (run_at, id) SELECT l.run_at, l.id FROM later l
    )
    SELECT array_agg(q.id), array_agg(q.queue), array_agg(q.priority) INTO free, queues, priorities
      FROM queued q WHERE (q.run_at > now()) IS NOT TRUE;
    PERFORM longhaul.make_ready(free, queues, priorities);
    -- Those that go on, and those that wait for fewer tasks now.
    IF EXISTS (SELECT FROM longhaul.watched) THEN
        PERFORM longhaul.tell_watchers(ARRAY(SELECT w.id FROM unnest(waiting) AS w(id) EXCEPT SELECT e.id FROM unnest(ended) AS e(id)));
    END IF;
END $$;

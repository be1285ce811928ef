-- Why this task waits: a row for each reason that holds it now, the one to look at first
-- first; none if it runs, is over or is not there. `code` is of a closed list
-- (docs/queues.md), `says` is a sentence for people, `details` are its parts for programs.
CREATE OR REPLACE FUNCTION longhaul.why(id uuid, OUT code text, OUT says text, OUT details jsonb) RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- As in the sessions of workers (longhaul_worker::SESSION): by an index, however small the
-- tables were when the plan was made.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
DECLARE
    now_at CONSTANT timestamptz := clock_timestamp();
    t longhaul.task;
    place text;
    worker record;
    aside longhaul.set_aside;
    fleet record;
    at timestamptz;
    number integer;
    of_all integer;
    stops boolean;
    paused boolean := false;
    -- What comes next is a maintenance service's, which any worker has.
    needs_any_worker boolean := false;
BEGIN
    SELECT * INTO t FROM longhaul.task o WHERE o.id = why.id;
    IF NOT FOUND OR t.state IN ('Succeeded', 'Failed', 'Cancelled') THEN
        RETURN;
    END IF;
    SELECT w.name, w.state, w.last_heartbeat INTO worker
      FROM longhaul.lease l LEFT JOIN longhaul.workers w ON w.id = l.worker_id
     WHERE t.id = ANY (l.task_ids) LIMIT 1;
    IF FOUND THEN
        place := 'lease';
    ELSE
        SELECT coalesce(p.places[1], 'none') INTO place FROM longhaul.places(ARRAY[t.id]) p;
    END IF;

    SELECT c.requested_at INTO at FROM longhaul.cancel_request c WHERE c.task_id = t.id;
    stops := FOUND;
    IF stops THEN
        code := 'cancelling';
        says := format('Its cancellation was asked for at %s; it ends once its %s stopped.', longhaul.utc_text(at),
                       CASE place WHEN 'children' THEN 'children have' ELSE 'handler has' END);
        details := jsonb_build_object('Since', longhaul.whole_seconds(at));
        RETURN NEXT;
    END IF;

    -- Of the services that take a task from one place to the next.
    FOR aside IN
        SELECT * FROM longhaul.set_aside a
         WHERE a.id = t.id::text
           AND a.service IN ('promoter', 'follower/dependents', 'follower/parents', 'rescuer', 'canceller', 'gatekeeper/tasks')
         ORDER BY a.service
    LOOP
        code := 'set-aside';
        says := format('The service %s can''t process it (%s), and tries again at %s; longhaul.set_aside_tasks has the error.',
                       aside.service, longhaul.number_of(aside.tries, 'failure'), longhaul.utc_text(aside.next_at));
        details := jsonb_build_object('Service', aside.service, 'Tries', aside.tries,
            'Since', longhaul.whole_seconds(aside.since), 'Until', longhaul.whole_seconds(aside.next_at));
        RETURN NEXT;
    END LOOP;

    IF place = 'lease' THEN
        IF worker.state IS DISTINCT FROM 'alive' THEN
            at := now_at - worker.last_heartbeat;
            code := 'worker-silent';
            says := format('Its worker %s has not been heard from since %s; another worker takes the task over.',
                           worker.name, longhaul.utc_text(at));
            details := jsonb_strip_nulls(jsonb_build_object('Worker', worker.name, 'Since', longhaul.whole_seconds(at)));
            RETURN NEXT;
            needs_any_worker := true;
        END IF;
    ELSIF place = 'children' THEN
        SELECT f.children - f.succeeded - f.failed - f.cancelled, f.children INTO number, of_all
          FROM longhaul.family f WHERE f.parent_id = t.id;
        code := 'children';
        says := CASE WHEN number > 0 THEN format('It waits until its children have ended; %s of %s have not.', number, of_all)
                     ELSE 'Its children have ended; it goes on in a moment.' END;
        details := jsonb_build_object('Open', number, 'Children', of_all);
        RETURN NEXT;
        needs_any_worker := number <= 0;
    ELSIF place = 'blocked' THEN
        SELECT b.open INTO number FROM longhaul.blocked b WHERE b.id = t.id;
        code := 'dependencies';
        says := CASE WHEN number > 0 THEN format('It waits until %s ended.',
                                                 CASE number WHEN 1 THEN '1 other task has' ELSE longhaul.number_of(number, 'other task') || ' have' END)
                     ELSE 'The tasks that it waited for have ended; it is queued in a moment.' END;
        details := jsonb_build_object('Open', number);
        RETURN NEXT;
        needs_any_worker := number = 0;
    ELSIF place = 'scheduled' THEN
        IF t.state = 'Retrying' THEN
            code := 'retry';
            says := format('Attempt %s of %s failed; the next one ', t.attempt, t.max_attempts);
        ELSIF t.interruptions > 0 THEN
            code := 'retry';
            says := 'The database interrupted its attempt; the next one ';
        ELSE
            code := 'time';
            says := 'It ';
        END IF;
        says := says || CASE WHEN t.run_at <= now_at THEN format('was due at %s, and a worker queues it in a moment.', longhaul.utc_text(t.run_at))
                             WHEN code = 'time' THEN format('waits until %s.', longhaul.utc_text(t.run_at))
                             ELSE format('is due at %s.', longhaul.utc_text(t.run_at)) END;
        details := jsonb_strip_nulls(jsonb_build_object('Until', longhaul.whole_seconds(t.run_at),
            'Attempt', CASE WHEN t.state = 'Retrying' THEN t.attempt END,
            'MaxAttempts', CASE WHEN t.state = 'Retrying' THEN t.max_attempts END));
        RETURN NEXT;
        needs_any_worker := t.run_at <= now_at;
    ELSIF place IN ('ready', 'held') THEN
        SELECT y.paused_at INTO at FROM longhaul.task_type y WHERE y.name = t.type AND y.paused_at IS NOT NULL;
        IF FOUND THEN
            paused := true;
            code := 'type-paused';
            says := format('The type %s has been paused since %s.', t.type, longhaul.utc_text(at));
            details := jsonb_build_object('Type', t.type, 'Since', longhaul.whole_seconds(at));
            RETURN NEXT;
        END IF;
        SELECT q.paused_at INTO at FROM longhaul.queue q WHERE q.name = t.queue AND q.paused_at IS NOT NULL;
        IF FOUND THEN
            paused := true;
            code := 'queue-paused';
            says := format('The queue %s has been paused since %s.', t.queue, longhaul.utc_text(at));
            details := jsonb_build_object('Queue', t.queue, 'Since', longhaul.whole_seconds(at));
            RETURN NEXT;
        END IF;
    ELSE
        code := 'stranded';
        says := 'It is in no place where a worker would find it, which is a fault of Longhaul; a service queues it again within minutes.';
        details := '{}';
        RETURN NEXT;
        needs_any_worker := true;
    END IF;

    IF NOT needs_any_worker AND place NOT IN ('ready', 'held') THEN
        RETURN;
    END IF;
    SELECT count(*) FILTER (WHERE v.state = 'alive') AS alive,
           count(*) FILTER (WHERE v.state = 'alive' AND v.serves) AS workers,
           coalesce(sum(v.slots) FILTER (WHERE v.state = 'alive' AND v.serves), 0) AS slots,
           count(*) FILTER (WHERE v.state = 'silent' AND v.serves) AS silent
      INTO fleet
      FROM (SELECT w.state, w.slots, t.queue = ANY (w.queues) AS serves FROM longhaul.workers w
             WHERE w.stopped_at IS NULL AND w.lost_at IS NULL) AS v;
    IF fleet.alive = 0 OR (fleet.workers = 0 AND NOT needs_any_worker) THEN
        code := 'no-worker';
        says := CASE WHEN fleet.silent > 0 AND NOT needs_any_worker
                     THEN format('No worker serves the queue %s: the one that did has not been heard from lately.', t.queue)
                     WHEN fleet.alive = 0 THEN 'No worker is alive.'
                     ELSE format('No worker serves the queue %s; those that are alive (%s) serve other queues.', t.queue, fleet.alive) END;
        details := jsonb_build_object('Queue', t.queue, 'Workers', fleet.alive);
        RETURN NEXT;
    ELSIF NOT needs_any_worker AND NOT paused THEN
        RETURN QUERY SELECT * FROM longhaul.why_in_line(t, fleet.workers, fleet.slots);
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.why(uuid) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.why(uuid) IS
    'Why this task waits: a row for each reason that holds it now, the one to look at first first.';

-- Who may read the view of tasks may ask when this is new: also where the database roles are
-- not in use.
DO $$
DECLARE
    grantee text;
BEGIN
    IF EXISTS (SELECT FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a
                WHERE p.oid = 'longhaul.why(uuid)'::regprocedure AND a.grantee <> p.proowner) THEN
        RETURN;
    END IF;
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
          FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE c.oid = to_regclass('longhaul.tasks') AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
           AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION longhaul.why(uuid) TO %s', grantee);
    END LOOP;
END $$;

-- Tasks that belong together: those that wait for others (dependency), and those
-- that are the parts of one (family, child).
--
-- Whoever ends a task that others are interested in (task.followed) notes it in
-- `ended`, in the same statement. longhaul.follow() works that list off, one
-- transaction at a time over the whole fleet: it lets dependents go, counts
-- children, ends or wakes parents. So an end takes no lock but its own task's, and
-- no two ends race for what depends on both (docs/adr/0005).

SET LOCAL lock_timeout = '5s';

-- Both stay NULL for a task that stands alone: no byte more in its row, and no
-- rewrite of the table now.
ALTER TABLE longhaul.task
    ADD COLUMN parent_id uuid,
    ADD COLUMN followed boolean;

-- task_id does not begin before on_id has ended.
CREATE TABLE longhaul.dependency (
    task_id   uuid NOT NULL,
    on_id     uuid NOT NULL,
    -- What becomes of task_id if on_id fails or is cancelled.
    if_failed text NOT NULL CHECK (if_failed IN ('Cancel', 'Fail', 'Run')),
    -- NULL: on_id has not ended.
    outcome   text CHECK (outcome IN ('Met', 'Broken')),
    PRIMARY KEY (task_id, on_id),
    CHECK (task_id <> on_id)
) WITH (fillfactor = 80);

CREATE INDEX dependency_on ON longhaul.dependency (on_id);

-- Tasks that wait for others, and for how many. Each is Queued and in no other
-- place where tasks wait.
CREATE TABLE longhaul.blocked (
    id   uuid PRIMARY KEY,
    open integer NOT NULL CHECK (open >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- A parent's children, counted.
CREATE TABLE longhaul.family (
    parent_id  uuid PRIMARY KEY,
    children   integer NOT NULL CHECK (children >= 0),
    -- Of those, how many have ended so.
    succeeded  integer NOT NULL DEFAULT 0,
    failed     integer NOT NULL DEFAULT 0,
    cancelled  integer NOT NULL DEFAULT 0,
    -- The elements of those that ended; a child that tells none is one.
    elements   bigint NOT NULL DEFAULT 0,
    if_failed  text NOT NULL CHECK (if_failed IN ('Continue', 'Cancel', 'Ignore')),
    -- The parent does nothing but wait: it is Running without a lease, and its
    -- progress is its children's.
    waiting    boolean NOT NULL,
    -- When all have ended: its handler runs again, or it ends.
    resume     boolean NOT NULL,
    -- Its open children are being cancelled; those up to stopped_to have been.
    stopping   boolean NOT NULL DEFAULT false,
    stopped_to integer NOT NULL DEFAULT 0,
    CHECK (succeeded >= 0 AND failed >= 0 AND cancelled >= 0)
) WITH (fillfactor = 50);

CREATE INDEX family_active ON longhaul.family (parent_id) WHERE waiting OR stopping;

CREATE TABLE longhaul.child (
    parent_id uuid NOT NULL,
    number    integer NOT NULL,
    id        uuid NOT NULL,
    PRIMARY KEY (parent_id, number)
);

-- Followed tasks whose end nobody has acted upon yet.
CREATE TABLE longhaul.ended (
    id         uuid PRIMARY KEY,
    -- It ended before, and may have been counted as a child: only those that wait
    -- for it are to be looked at.
    edges_only boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- A parent that only waits for its parts (API: POST /api/backgroundtasks/batch).
INSERT INTO longhaul.task_type (name, id_prefix, queue, max_attempts) VALUES ('Batch', 'batch_', 'default', 1)
    ON CONFLICT DO NOTHING;

-- Marks tasks as followed and returns those that there are not. What has ended
-- already is noted at once. It never waits for a lock while it holds another:
-- whoever ends several tasks takes their locks in an order of its own.
CREATE FUNCTION longhaul.follow_ends(ids uuid[]) RETURNS uuid[]
LANGUAGE plpgsql AS $$
DECLARE
    known uuid[];
BEGIN
    FOR try IN 1 .. 200 LOOP
        BEGIN
            WITH open AS (
                SELECT t.id, t.followed, t.finished_at FROM longhaul.task t WHERE t.id = ANY (ids)
                 ORDER BY t.id FOR NO KEY UPDATE NOWAIT
            ), marked AS (
                UPDATE longhaul.task t SET followed = true FROM open o WHERE t.id = o.id AND o.followed IS NOT TRUE
            ), noted AS (
                INSERT INTO longhaul.ended (id, edges_only) SELECT o.id, true FROM open o WHERE o.finished_at IS NOT NULL
                    ON CONFLICT DO NOTHING
            )
            SELECT array_agg(o.id) INTO known FROM open o;
            IF EXISTS (SELECT FROM longhaul.ended) THEN
                PERFORM pg_notify('longhaul_followed', '');
            END IF;
            RETURN ARRAY(SELECT i.id FROM unnest(ids) AS i(id) WHERE i.id <> ALL (coalesce(known, '{}')));
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.002 * least(try, 25));
        END;
    END LOOP;
    RAISE EXCEPTION 'a task to wait for is locked by another transaction for seconds' USING ERRCODE = 'lock_not_available';
END $$;

-- Cancels a task: at once if it waits (returns 'Cancelled'), by asking its worker
-- if it runs ('Requested'). 'Ended' if it is over, NULL if there is none. The
-- children of a parent are cancelled, too.
CREATE OR REPLACE FUNCTION longhaul.cancel(id uuid) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    t longhaul.task;
BEGIN
    SELECT * INTO t FROM longhaul.task WHERE task.id = cancel.id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF t.state IN ('Succeeded', 'Failed', 'Cancelled') THEN
        RETURN 'Ended';
    END IF;
    -- If one of these rows can be deleted, the task had not begun. A claim that
    -- is under way is waited for, and has then begun it.
    DELETE FROM longhaul.ready r
     WHERE r.queue = t.queue AND r.priority = t.priority
       AND r.id IN (t.id, (SELECT a.place FROM longhaul.admitted a WHERE a.id = t.id));
    IF NOT FOUND THEN
        DELETE FROM longhaul.held h
         WHERE h.queue = t.queue AND h.key = coalesce(t.key, '') AND h.priority = t.priority AND h.id = t.id;
    END IF;
    IF NOT FOUND THEN
        DELETE FROM longhaul.scheduled s WHERE s.run_at = t.run_at AND s.id = t.id;
    END IF;
    IF NOT FOUND THEN
        DELETE FROM longhaul.blocked b WHERE b.id = t.id;
    END IF;
    IF NOT FOUND THEN
        INSERT INTO longhaul.cancel_request (task_id) VALUES (t.id) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('longhaul_cancel', t.id::text);
        IF EXISTS (SELECT FROM longhaul.family f WHERE f.parent_id = t.id) THEN
            PERFORM pg_notify('longhaul_followed', '');
        END IF;
        RETURN 'Requested';
    END IF;
    UPDATE longhaul.task SET state = 'Cancelled', finished_at = now() WHERE task.id = t.id;
    DELETE FROM longhaul.task_key k WHERE k.key = t.unique_key AND k.task_id = t.id AND k.expires_at IS NULL;
    DELETE FROM longhaul.admitted a WHERE a.id = t.id;
    IF t.followed THEN
        INSERT INTO longhaul.ended (id) VALUES (t.id) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('longhaul_followed', '');
    END IF;
    RETURN 'Cancelled';
END $$;

-- Runs a failed or cancelled task again, with as many attempts as its type has,
-- from its last checkpoint. 'Queued' if so; 'Open' if it is not over, 'Succeeded'
-- if it ended well, 'Taken' if another open task has its unique key; NULL if
-- there is none. Tasks that ended because of it wait for it again; a Batch runs its
-- children that failed or were cancelled again.
CREATE OR REPLACE FUNCTION longhaul.retry(id uuid) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    t longhaul.task;
    other uuid;
    prerequisites integer;
    parts boolean;
    uncounted boolean;
BEGIN
    -- Not while the ends of its relatives are being followed.
    IF EXISTS (SELECT FROM longhaul.task o WHERE o.id = retry.id AND o.followed)
       OR EXISTS (SELECT FROM longhaul.family f WHERE f.parent_id = retry.id) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    END IF;
    -- It may still stand, ended, in a lease whose other tasks are at work.
    UPDATE longhaul.lease l SET task_ids = array_remove(l.task_ids, retry.id), shortened = true WHERE retry.id = ANY (l.task_ids)
       AND EXISTS (SELECT FROM longhaul.task o WHERE o.id = retry.id AND o.state IN ('Failed', 'Cancelled'));
    SELECT * INTO t FROM longhaul.task WHERE task.id = retry.id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF t.state = 'Succeeded' THEN
        RETURN 'Succeeded';
    ELSIF t.state NOT IN ('Failed', 'Cancelled') THEN
        RETURN 'Open';
    END IF;
    IF t.unique_key IS NOT NULL THEN
        INSERT INTO longhaul.task_key (key, task_id) VALUES (t.unique_key, t.id) ON CONFLICT DO NOTHING;
        IF NOT EXISTS (SELECT FROM longhaul.task_key k WHERE k.key = t.unique_key AND k.task_id = t.id) THEN
            RETURN 'Taken';
        END IF;
    END IF;
    parts := EXISTS (SELECT FROM longhaul.family f WHERE f.parent_id = t.id AND NOT f.resume);
    UPDATE longhaul.task
       SET state = CASE WHEN parts THEN 'Running' ELSE 'Queued' END::longhaul.task_state,
           finished_at = NULL, error = NULL, result = NULL, run_at = NULL, crashes = 0,
           fraction = CASE WHEN checkpoint IS NULL AND NOT parts THEN 0 ELSE fraction END,
           max_attempts = least(t.attempt + coalesce((SELECT y.max_attempts FROM longhaul.task_type y WHERE y.name = t.type),
                                                     t.max_attempts), 32767)
     WHERE task.id = t.id;
    -- A request that came just when it ended.
    DELETE FROM longhaul.cancel_request c WHERE c.task_id = t.id;
    -- Its end, if it was counted, is not one any more.
    DELETE FROM longhaul.ended e WHERE e.id = t.id RETURNING NOT e.edges_only INTO uncounted;
    IF uncounted IS NOT TRUE AND t.parent_id IS NOT NULL THEN
        UPDATE longhaul.family f
           SET failed = f.failed - (t.state = 'Failed')::integer,
               cancelled = f.cancelled - (t.state = 'Cancelled')::integer,
               elements = f.elements - greatest(t.total_elements, 1)
         WHERE f.parent_id = t.parent_id;
    END IF;
    FOR other IN
        UPDATE longhaul.dependency d SET outcome = NULL WHERE d.on_id = t.id AND d.outcome = 'Broken' RETURNING d.task_id
    LOOP
        PERFORM longhaul.retry(other);
    END LOOP;
    UPDATE longhaul.family f SET stopping = false, stopped_to = 0 WHERE f.parent_id = t.id;
    IF parts THEN
        FOR other IN
            SELECT c.id FROM longhaul.child c JOIN longhaul.task k ON k.id = c.id
             WHERE c.parent_id = t.id AND k.state IN ('Failed', 'Cancelled') ORDER BY c.number
        LOOP
            PERFORM longhaul.retry(other);
        END LOOP;
        UPDATE longhaul.family f SET waiting = true WHERE f.parent_id = t.id;
        INSERT INTO longhaul.ended (id) VALUES (t.id) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('longhaul_followed', '');
        RETURN 'Queued';
    END IF;
    prerequisites := (SELECT count(*) FROM longhaul.dependency d WHERE d.task_id = t.id AND d.outcome IS NULL);
    IF prerequisites > 0 THEN
        INSERT INTO longhaul.blocked (id, open) VALUES (t.id, prerequisites);
        RETURN 'Queued';
    END IF;
    INSERT INTO longhaul.ready (queue, priority, id) VALUES (t.queue, t.priority, t.id);
    PERFORM pg_notify('longhaul_ready', t.queue);
    RETURN 'Queued';
END $$;

-- Lets the dependents of ended tasks go, or ends them.
CREATE FUNCTION longhaul.follow_dependents(done uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    waiting uuid[];
    queue_name text;
BEGIN
    -- In one order, as whoever cancels locks a task before its place.
    SELECT array_agg(locked.id) INTO waiting
      FROM (SELECT t.id FROM longhaul.task t
             WHERE t.id IN (SELECT d.task_id FROM longhaul.dependency d WHERE d.on_id = ANY (done) AND d.outcome IS NULL)
             ORDER BY t.id FOR NO KEY UPDATE) AS locked;
    IF waiting IS NULL THEN
        RETURN;
    END IF;
    WITH judged AS (
        UPDATE longhaul.dependency d
           SET outcome = CASE WHEN o.state = 'Succeeded' OR d.if_failed = 'Run' THEN 'Met' ELSE 'Broken' END
          FROM longhaul.task o
         WHERE o.id = ANY (done) AND o.finished_at IS NOT NULL AND d.on_id = o.id AND d.outcome IS NULL
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
        RETURNING t.id, t.unique_key, t.followed
    ), keys AS (
        DELETE FROM longhaul.task_key k USING over o WHERE k.key = o.unique_key AND k.task_id = o.id AND k.expires_at IS NULL
    )
    INSERT INTO longhaul.ended (id) SELECT o.id FROM over o WHERE o.followed ON CONFLICT DO NOTHING;
    -- A statement of its own, which sees the counts.
    FOR queue_name IN
        WITH free AS (
            DELETE FROM longhaul.blocked b WHERE b.id = ANY (waiting) AND b.open = 0 RETURNING b.id
        ), queued AS (
            SELECT t.id, t.queue, t.priority, t.run_at FROM longhaul.task t JOIN free f ON f.id = t.id
        ), later AS (
            UPDATE longhaul.task t SET state = 'Scheduled' FROM queued q WHERE t.id = q.id AND q.run_at > now()
            RETURNING t.run_at, t.id
        ), scheduled AS (
            INSERT INTO longhaul.scheduled (run_at, id) SELECT l.run_at, l.id FROM later l
        ), ready AS (
            INSERT INTO longhaul.ready (queue, priority, id)
            SELECT q.queue, q.priority, q.id FROM queued q WHERE (q.run_at > now()) IS NOT TRUE
            RETURNING queue
        )
        SELECT DISTINCT r.queue FROM ready r
    LOOP
        PERFORM pg_notify('longhaul_ready', queue_name);
    END LOOP;
    IF EXISTS (SELECT FROM longhaul.watched) THEN
        PERFORM longhaul.tell_watchers(waiting);
    END IF;
END $$;

-- Counts ended children, and ends or wakes the parents that waited for the last
-- of theirs.
CREATE FUNCTION longhaul.follow_children(done uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    one longhaul.family;
    t longhaul.task;
    becomes longhaul.task_state;
BEGIN
    UPDATE longhaul.family f
       SET succeeded = f.succeeded + s.succeeded, failed = f.failed + s.failed, cancelled = f.cancelled + s.cancelled,
           elements = f.elements + s.elements,
           stopping = f.stopping OR (f.if_failed = 'Cancel' AND s.failed + s.cancelled > 0)
      FROM (SELECT c.parent_id,
                   count(*) FILTER (WHERE c.state = 'Succeeded') AS succeeded,
                   count(*) FILTER (WHERE c.state = 'Failed') AS failed,
                   count(*) FILTER (WHERE c.state = 'Cancelled') AS cancelled,
                   sum(greatest(c.total_elements, 1)) AS elements
              FROM longhaul.task c
             WHERE c.id = ANY (done) AND c.parent_id IS NOT NULL AND c.finished_at IS NOT NULL
             GROUP BY c.parent_id) AS s
     WHERE f.parent_id = s.parent_id;
    -- A parent that was cancelled, while it waited or while its handler ran, takes
    -- its children along.
    UPDATE longhaul.family f SET stopping = true
     WHERE NOT f.stopping AND f.succeeded + f.failed + f.cancelled < f.children
       AND ((f.waiting AND EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = f.parent_id))
            OR f.parent_id IN (SELECT p.id FROM longhaul.task p WHERE p.id = ANY (done) AND p.state = 'Cancelled'));
    FOR one IN SELECT * FROM longhaul.family f WHERE f.stopping AND f.stopped_to < f.children LOOP
        PERFORM longhaul.cancel(c.id) FROM longhaul.child c
          WHERE c.parent_id = one.parent_id AND c.number > one.stopped_to AND c.number <= one.stopped_to + 1000;
        UPDATE longhaul.family o SET stopped_to = least(o.stopped_to + 1000, o.children) WHERE o.parent_id = one.parent_id;
    END LOOP;
    UPDATE longhaul.family f SET stopping = false
     WHERE f.stopping AND NOT f.waiting AND f.stopped_to >= f.children;
    FOR one IN SELECT * FROM longhaul.family f WHERE f.waiting AND f.succeeded + f.failed + f.cancelled >= f.children LOOP
        SELECT * INTO t FROM longhaul.task p WHERE p.id = one.parent_id FOR NO KEY UPDATE;
        UPDATE longhaul.family o SET waiting = false, stopping = false WHERE o.parent_id = one.parent_id;
        IF EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = one.parent_id) THEN
            becomes := 'Cancelled';
        ELSIF one.resume THEN
            UPDATE longhaul.task p SET state = 'Queued', attempt = greatest(p.attempt - 1, 0) WHERE p.id = one.parent_id;
            INSERT INTO longhaul.ready (queue, priority, id) VALUES (t.queue, t.priority, t.id);
            PERFORM pg_notify('longhaul_ready', t.queue);
            CONTINUE;
        ELSIF one.failed + one.cancelled > 0 AND one.if_failed <> 'Ignore' THEN
            becomes := 'Failed';
        ELSE
            becomes := 'Succeeded';
        END IF;
        UPDATE longhaul.task p
           SET state = becomes, finished_at = now(),
               message = format('%s of %s tasks succeeded', one.succeeded, one.children),
               total_elements = one.elements, processed_elements = one.elements,
               fraction = CASE WHEN becomes = 'Succeeded' THEN 1 ELSE p.fraction END,
               result = jsonb_build_object('Children', one.children, 'Succeeded', one.succeeded, 'Failed', one.failed,
                                           'Cancelled', one.cancelled),
               error = CASE WHEN becomes = 'Failed' THEN jsonb_build_object(
                   'type', 'urn:longhaul:problem:children-failed', 'title', 'Tasks of the batch did not succeed',
                   'status', 500, 'code', 'children-failed',
                   'detail', format('Of %s tasks %s failed and %s were cancelled.', one.children, one.failed, one.cancelled)) END
         WHERE p.id = one.parent_id;
        DELETE FROM longhaul.cancel_request c WHERE c.task_id = one.parent_id;
        DELETE FROM longhaul.task_key k WHERE k.key = t.unique_key AND k.task_id = t.id AND k.expires_at IS NULL;
        IF t.followed THEN
            INSERT INTO longhaul.ended (id) VALUES (t.id) ON CONFLICT DO NOTHING;
        END IF;
        IF EXISTS (SELECT FROM longhaul.watched) THEN
            PERFORM longhaul.tell_watchers(ARRAY[t.id]);
        END IF;
    END LOOP;
END $$;

-- Acts upon ends that are noted in `ended`, a bounded number. Returns how many;
-- call it again until there are none. One transaction at a time does so.
CREATE FUNCTION longhaul.follow() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    done uuid[];
    uncounted uuid[];
BEGIN
    IF NOT EXISTS (SELECT FROM longhaul.ended) AND NOT EXISTS (
        SELECT FROM longhaul.family f
         WHERE (f.stopping AND f.stopped_to < f.children)
            OR (f.waiting AND NOT f.stopping AND EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = f.parent_id)))
    THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    WITH taken AS (
        DELETE FROM longhaul.ended e WHERE e.ctid = ANY (ARRAY(SELECT o.ctid FROM longhaul.ended o LIMIT 2000)) RETURNING e.id, e.edges_only
    )
    SELECT coalesce(array_agg(t.id), '{}'), coalesce(array_agg(t.id) FILTER (WHERE NOT t.edges_only), '{}')
      INTO done, uncounted FROM taken t;
    PERFORM longhaul.follow_dependents(done);
    PERFORM longhaul.follow_children(uncounted);
    RETURN cardinality(done);
END $$;

-- Notes ends that nobody has noted, and counts children anew that were not counted:
-- of tasks that a worker of a release ended which knows nothing of all this. Returns
-- how many.
CREATE FUNCTION longhaul.note_missed_ends() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    missed integer;
BEGIN
    IF NOT EXISTS (SELECT FROM longhaul.blocked) AND NOT EXISTS (SELECT FROM longhaul.family f WHERE f.waiting) THEN
        RETURN 0;
    END IF;
    -- While this is held no note is taken away: an ended child has been counted or
    -- has one, unless it was missed.
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    WITH counted AS (
        SELECT c.parent_id,
               count(*) FILTER (WHERE t.state = 'Succeeded') AS succeeded,
               count(*) FILTER (WHERE t.state = 'Failed') AS failed,
               count(*) FILTER (WHERE t.state = 'Cancelled') AS cancelled,
               sum(greatest(t.total_elements, 1)) AS elements
          FROM longhaul.family f
          JOIN longhaul.child c ON c.parent_id = f.parent_id
          JOIN longhaul.task t ON t.id = c.id
         WHERE f.waiting AND t.finished_at IS NOT NULL AND NOT EXISTS (SELECT FROM longhaul.ended e WHERE e.id = c.id AND NOT e.edges_only)
         GROUP BY c.parent_id
    ), mended AS (
        UPDATE longhaul.family f
           SET succeeded = c.succeeded, failed = c.failed, cancelled = c.cancelled, elements = c.elements
          FROM counted c
         WHERE f.parent_id = c.parent_id AND c.succeeded + c.failed + c.cancelled > f.succeeded + f.failed + f.cancelled
        RETURNING f.parent_id AS id
    ), noted AS (
        INSERT INTO longhaul.ended (id, edges_only)
        SELECT m.id, true FROM mended m
        UNION
        SELECT d.on_id, true FROM longhaul.dependency d JOIN longhaul.task t ON t.id = d.on_id
         WHERE d.outcome IS NULL AND t.finished_at IS NOT NULL
            ON CONFLICT DO NOTHING
        RETURNING id
    )
    SELECT count(*) INTO missed FROM noted;
    IF missed > 0 THEN
        PERFORM pg_notify('longhaul_followed', '');
    END IF;
    RETURN missed;
END $$;

-- Shows the progress of parents that wait: the sums of their children's elements,
-- the mean of their fractions. Returns how many parents wait.
CREATE FUNCTION longhaul.sum_children() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    parents uuid[] := ARRAY(SELECT f.parent_id FROM longhaul.family f WHERE f.waiting);
    shown uuid[];
BEGIN
    IF cardinality(parents) = 0 THEN
        RETURN 0;
    END IF;
    WITH at_work AS (
        SELECT u.id FROM longhaul.lease l CROSS JOIN unnest(l.task_ids) AS u(id)
        UNION
        SELECT w.id FROM unnest(parents) AS w(id)
    ), part AS (
        SELECT c.parent_id, count(*) AS number, sum(greatest(c.total_elements, 1)) AS total,
               sum(c.processed_elements) AS processed, sum(c.fraction) AS fraction
          FROM at_work a JOIN longhaul.task c ON c.id = a.id
         WHERE c.parent_id = ANY (parents) AND c.finished_at IS NULL
         GROUP BY c.parent_id
    ), whole AS (
        SELECT f.parent_id, f.succeeded + f.failed + f.cancelled AS over, f.children, f.failed,
               f.elements + coalesce(p.total, 0)
                   + greatest(f.children - f.succeeded - f.failed - f.cancelled - coalesce(p.number, 0), 0) AS total,
               f.elements + coalesce(p.processed, 0) AS processed,
               (f.succeeded + f.failed + f.cancelled + coalesce(p.fraction, 0)) / greatest(f.children, 1) AS fraction
          FROM longhaul.family f LEFT JOIN part p USING (parent_id)
         WHERE f.parent_id = ANY (parents)
    ), news AS (
        SELECT t.id, w.total, least(greatest(w.processed, t.processed_elements), w.total) AS processed,
               least(greatest(w.fraction::real, t.fraction), 1) AS fraction,
               format('%s of %s tasks done', w.over, w.children)
                   || CASE WHEN w.failed > 0 THEN format(', %s failed', w.failed) ELSE '' END AS message
          FROM whole w JOIN longhaul.task t ON t.id = w.parent_id
         WHERE t.finished_at IS NULL
           FOR NO KEY UPDATE OF t SKIP LOCKED
    ), changed AS (
        UPDATE longhaul.task t
           SET total_elements = n.total, processed_elements = n.processed, fraction = n.fraction, message = n.message
          FROM news n
         WHERE t.id = n.id
           AND (t.total_elements, t.processed_elements, t.fraction, t.message)
               IS DISTINCT FROM (n.total, n.processed, n.fraction, n.message)
        RETURNING t.id
    )
    SELECT array_agg(c.id) INTO shown FROM changed c;
    IF EXISTS (SELECT FROM longhaul.watched) THEN
        PERFORM longhaul.tell_watchers(shown);
    END IF;
    RETURN cardinality(parents);
END $$;

-- As before, with the places of tasks that wait for others.
CREATE OR REPLACE VIEW longhaul.tasks AS
SELECT coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id,
       t.id,
       t.type,
       s.state,
       round(t.fraction::numeric, 2) AS progress,
       t.processed_elements,
       t.total_elements,
       t.message,
       CASE WHEN s.state = 'Running' AND t.state <> 'Running' THEN t.attempt + 1 ELSE t.attempt END AS attempt,
       t.max_attempts,
       now() - t.accepted_at AS age,
       CASE WHEN s.state = 'Running'
            THEN (SELECT w.name FROM longhaul.lease l JOIN longhaul.worker w ON w.id = l.worker_id
                   WHERE t.id = ANY (l.task_ids) LIMIT 1)
            ELSE (SELECT w.name FROM longhaul.worker w WHERE w.id = t.worker_id)
       END AS worker,
       coalesce(t.error, (SELECT e.error FROM longhaul.attempt_error e WHERE e.task_id = t.id
                           ORDER BY e.attempt DESC, e.failed_at DESC LIMIT 1)) ->> 'detail' AS last_error,
       t.queue,
       t.priority,
       t.created_by,
       t.accepted_at,
       t.run_at,
       t.started_at,
       t.finished_at,
       t.parameters,
       t.checkpoint,
       t.result,
       t.error,
       t.parent_id,
       (SELECT b.open FROM longhaul.blocked b WHERE b.id = t.id) AS waits_for
  FROM longhaul.task t
  LEFT JOIN longhaul.task_type y ON y.name = t.type
 CROSS JOIN LATERAL (
       SELECT CASE WHEN t.state IN ('Succeeded', 'Failed', 'Cancelled') THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.ready r
                                 WHERE r.queue = t.queue AND r.priority = t.priority AND r.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.admitted a
                                  JOIN longhaul.ready r ON r.queue = t.queue AND r.priority = t.priority AND r.id = a.place
                                 WHERE a.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.scheduled p
                                 WHERE p.run_at = t.run_at AND p.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.held h
                                 WHERE h.queue = t.queue AND h.key = coalesce(t.key, '')
                                   AND h.priority = t.priority AND h.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.blocked b WHERE b.id = t.id) THEN t.state
                   ELSE 'Running'::longhaul.task_state
              END AS state) s;

CREATE VIEW longhaul.batches AS
SELECT coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id,
       t.type,
       CASE WHEN t.finished_at IS NOT NULL THEN t.state ELSE 'Running' END AS state,
       round(t.fraction::numeric, 2) AS progress,
       f.children,
       f.succeeded,
       f.failed,
       f.cancelled,
       f.children - f.succeeded - f.failed - f.cancelled AS open,
       f.waiting,
       f.if_failed,
       t.id
  FROM longhaul.family f
  JOIN longhaul.task t ON t.id = f.parent_id
  LEFT JOIN longhaul.task_type y ON y.name = t.type;

COMMENT ON VIEW longhaul.batches IS 'Every task with children: how many there are, and how they ended.';
COMMENT ON FUNCTION longhaul.follow() IS 'Acts upon the ends of tasks that others wait for; workers call it.';

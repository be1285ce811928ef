-- Cancelling and retrying by hand, keys that no two tasks may share, and gates:
-- queues and types that are paused or limited.

-- A running task that is to stop; its worker is told by notification, and looks
-- once a second. Removed when the task ends.
CREATE TABLE longhaul.cancel_request (
    task_id      uuid PRIMARY KEY,
    requested_at timestamptz NOT NULL DEFAULT now()
);

-- Keys that no two tasks may share. Idempotency keys of requests ('i:…') are
-- kept for a day; unique keys of tasks ('u:…') until their task ends, or for
-- their period.
CREATE TABLE longhaul.task_key (
    key         text COLLATE "C" PRIMARY KEY,
    task_id     uuid NOT NULL,
    -- What was asked for with an idempotency key.
    fingerprint bytea,
    -- NULL: until the task ends.
    expires_at  timestamptz
);

-- Settings of a queue; a queue without a row has none.
CREATE TABLE longhaul.queue (
    name         text COLLATE "C" PRIMARY KEY,
    paused_at    timestamptz,
    -- At most this many of its tasks run at once, over the whole fleet …
    max_running  integer CHECK (max_running >= 0),
    -- … and of each key.
    max_per_key  integer CHECK (max_per_key >= 0),
    -- Keys take turns, so that one key's million tasks don't starve another's ten.
    fair         boolean NOT NULL DEFAULT false,
    -- At most rate_count tasks begin in rate_seconds.
    rate_count   integer CHECK (rate_count > 0),
    rate_seconds double precision CHECK (rate_seconds > 0),
    tokens       double precision NOT NULL DEFAULT 0,
    refilled_at  timestamptz NOT NULL DEFAULT now(),
    -- Whose turn was last.
    last_key     text COLLATE "C" NOT NULL DEFAULT '',
    gated        boolean NOT NULL GENERATED ALWAYS AS
                 (paused_at IS NOT NULL OR max_running IS NOT NULL OR max_per_key IS NOT NULL OR fair OR rate_count IS NOT NULL) STORED,
    CHECK ((rate_count IS NULL) = (rate_seconds IS NULL))
);

-- Admits held tasks of a queue, as many as its limits allow, and returns how
-- many. One transaction at a time per queue, so that the limits hold exactly:
-- the count below sees all that was admitted before.
CREATE FUNCTION longhaul.admit(queue_name text) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    q longhaul.queue;
    room integer;
    admitted_now integer;
    served text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.admit:' || queue_name, 0));
    SELECT * INTO q FROM longhaul.queue WHERE name = queue_name;
    IF FOUND AND q.gated THEN
        IF q.paused_at IS NOT NULL THEN
            RETURN 0;
        END IF;
        -- Not more ahead than workers can use; this is also what keeps turns fair.
        room := least(coalesce(q.max_running, 1000), 1000)
                - (SELECT count(*) FROM longhaul.admitted a WHERE a.queue = queue_name);
        IF q.rate_count IS NOT NULL THEN
            q.tokens := least(q.rate_count, q.tokens + extract(epoch FROM clock_timestamp() - q.refilled_at)
                                                       * q.rate_count / q.rate_seconds);
            room := least(room, floor(q.tokens)::integer);
        END IF;
        IF room <= 0 THEN
            RETURN 0;
        END IF;
    ELSE
        room := 1000000000;
    END IF;

    WITH RECURSIVE
    -- The keys that wait, from the one after the last turn on, and round again:
    -- at most as many as there is room for. One index probe each.
    after_last AS (
        (SELECT h.key, 1 AS number FROM longhaul.held h
          WHERE h.queue = queue_name AND h.key > coalesce(q.last_key, '') ORDER BY h.key LIMIT 1)
        UNION ALL
        SELECT n.key, a.number + 1 FROM after_last a CROSS JOIN LATERAL (
            SELECT h.key FROM longhaul.held h
             WHERE h.queue = queue_name AND h.key > a.key ORDER BY h.key LIMIT 1) n
         WHERE a.number < room
    ), up_to_last AS (
        (SELECT h.key, 1 AS number FROM longhaul.held h
          WHERE h.queue = queue_name AND h.key <= coalesce(q.last_key, '') ORDER BY h.key LIMIT 1)
        UNION ALL
        SELECT n.key, a.number + 1 FROM up_to_last a CROSS JOIN LATERAL (
            SELECT h.key FROM longhaul.held h
             WHERE h.queue = queue_name AND h.key > a.key AND h.key <= coalesce(q.last_key, '')
             ORDER BY h.key LIMIT 1) n
         WHERE a.number < room
    ), waiting AS (
        SELECT key, row_number() OVER (ORDER BY lap, number) AS turn
          FROM (SELECT 1 AS lap, number, key FROM after_last UNION ALL SELECT 2, number, key FROM up_to_last) AS laps
    ), free AS (
        SELECT w.key, w.turn,
               least(room, coalesce(q.max_per_key - (SELECT count(*) FROM longhaul.admitted a
                                                      WHERE a.queue = queue_name AND a.key = w.key), room)) AS places
          FROM waiting w
    ), candidate AS (
        -- The first task of each key, then the second of each, and so on.
        SELECT c.place, free.key, free.turn, c.round
          FROM free CROSS JOIN LATERAL (
               SELECT h.ctid AS place, row_number() OVER (ORDER BY h.priority, h.id) AS round
                 FROM longhaul.held h
                WHERE h.queue = queue_name AND h.key = free.key
                  AND NOT EXISTS (SELECT FROM longhaul.task_type y WHERE y.name = h.type AND y.paused_at IS NOT NULL)
                ORDER BY h.priority, h.id
                LIMIT greatest(free.places, 0)) c
         ORDER BY c.round, free.turn
         LIMIT room
    ), taken AS (
        DELETE FROM longhaul.held WHERE ctid = ANY (ARRAY(SELECT place FROM candidate))
        RETURNING ctid AS place, queue, key, priority, id
    ), placed AS MATERIALIZED (
        -- A UUIDv7 of this moment, growing in the order of turns.
        SELECT t.*, (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint + c.number / 4096), 12, '0')
                     || '7' || lpad(to_hex(c.number % 4096), 3, '0')
                     || '8' || left(md5(t.id::text), 15))::uuid AS ready_id
          FROM taken t
          JOIN (SELECT place, row_number() OVER (ORDER BY round, turn) AS number FROM candidate) c USING (place)
    ), counted AS (
        INSERT INTO longhaul.admitted (id, queue, key, place)
        SELECT id, queue, key, ready_id FROM placed WHERE coalesce(q.gated, false)
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id, task_id) SELECT queue, priority, ready_id, id FROM placed
    )
    SELECT (SELECT count(*) FROM taken), (SELECT key FROM candidate ORDER BY round DESC, turn DESC LIMIT 1)
      INTO admitted_now, served;

    IF admitted_now > 0 THEN
        PERFORM pg_notify('longhaul_ready', queue_name);
        IF q.gated THEN
            UPDATE longhaul.queue
               SET tokens = q.tokens - admitted_now, refilled_at = clock_timestamp(), last_key = served
             WHERE name = queue_name;
        END IF;
    END IF;
    RETURN admitted_now;
END $$;

-- Whatever becomes ready passes here, in the same transaction: what may not run
-- is held before anyone can claim it.
CREATE FUNCTION longhaul.gate() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    stopped_in text;
BEGIN
    IF NOT EXISTS (SELECT FROM longhaul.queue q WHERE q.gated)
       AND NOT EXISTS (SELECT FROM longhaul.task_type y WHERE y.paused_at IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    FOR stopped_in IN
        WITH stopped AS (
            SELECT n.queue, n.priority, n.id AS ready_id, t.id, coalesce(t.key, '') AS key, t.type
              FROM arrived n
              JOIN longhaul.task t ON t.id = coalesce(n.task_id, n.id)
              LEFT JOIN longhaul.queue q ON q.name = n.queue
              LEFT JOIN longhaul.task_type y ON y.name = t.type
             WHERE (coalesce(q.gated, false) OR y.paused_at IS NOT NULL)
               AND NOT EXISTS (SELECT FROM longhaul.admitted a WHERE a.id = t.id)
        ), removed AS (
            DELETE FROM longhaul.ready r USING stopped s
             WHERE r.queue = s.queue AND r.priority = s.priority AND r.id = s.ready_id
        ), held AS (
            INSERT INTO longhaul.held (queue, key, priority, id, type)
            SELECT queue, key, priority, id, type FROM stopped
            RETURNING queue
        )
        SELECT DISTINCT h.queue FROM held h ORDER BY h.queue
    LOOP
        IF EXISTS (SELECT FROM longhaul.queue q WHERE q.name = stopped_in AND q.gated) THEN
            PERFORM longhaul.admit(stopped_in);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE TRIGGER gate AFTER INSERT ON longhaul.ready
    REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION longhaul.gate();

-- Whatever ends or leaves makes room.
CREATE FUNCTION longhaul.make_room() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM longhaul.admit(freed.queue) FROM (SELECT DISTINCT l.queue FROM left_now l ORDER BY 1) AS freed;
    RETURN NULL;
END $$;

CREATE TRIGGER make_room AFTER DELETE ON longhaul.admitted
    REFERENCING OLD TABLE AS left_now FOR EACH STATEMENT EXECUTE FUNCTION longhaul.make_room();

-- Brings ready, held and admitted into line with a queue's settings. Takes a
-- lock that waits for transactions which are putting tasks into `ready` and keeps
-- others from doing so, for the blink of this call.
CREATE FUNCTION longhaul.apply_gate(queue_name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE longhaul.ready IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM longhaul.queue q WHERE q.name = queue_name AND q.gated) THEN
        INSERT INTO longhaul.admitted (id, queue, key)
        SELECT t.id, t.queue, coalesce(t.key, '')
          FROM longhaul.lease l CROSS JOIN unnest(l.task_ids) AS u(id) JOIN longhaul.task t ON t.id = u.id
         WHERE t.queue = queue_name AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
            ON CONFLICT DO NOTHING;
        -- What was ready waits again; its place is free for whose turn it is.
        WITH stopped AS (
            DELETE FROM longhaul.ready r WHERE r.queue = queue_name
            RETURNING r.queue, r.priority, coalesce(r.task_id, r.id) AS id
        )
        INSERT INTO longhaul.held (queue, key, priority, id, type)
        SELECT s.queue, coalesce(t.key, ''), s.priority, s.id, t.type
          FROM stopped s JOIN longhaul.task t ON t.id = s.id;
        DELETE FROM longhaul.admitted a USING longhaul.held h WHERE a.queue = queue_name AND h.id = a.id;
    ELSE
        DELETE FROM longhaul.admitted a WHERE a.queue = queue_name;
    END IF;
    PERFORM longhaul.admit(queue_name);
END $$;

-- Pauses and resumes a queue, and sets its limits; NULL means no limit.
CREATE FUNCTION longhaul.set_queue(name text, paused boolean DEFAULT false, max_running integer DEFAULT NULL,
    max_per_key integer DEFAULT NULL, fair boolean DEFAULT false, rate_count integer DEFAULT NULL,
    rate_seconds double precision DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO longhaul.queue AS known (name, paused_at, max_running, max_per_key, fair, rate_count, rate_seconds, tokens)
    VALUES (set_queue.name, CASE WHEN set_queue.paused THEN now() END, set_queue.max_running, set_queue.max_per_key,
            set_queue.fair, set_queue.rate_count, set_queue.rate_seconds, coalesce(set_queue.rate_count, 0))
    ON CONFLICT ON CONSTRAINT queue_pkey DO UPDATE
       SET paused_at = CASE WHEN set_queue.paused THEN coalesce(known.paused_at, now()) END,
           max_running = excluded.max_running, max_per_key = excluded.max_per_key, fair = excluded.fair,
           rate_count = excluded.rate_count, rate_seconds = excluded.rate_seconds,
           tokens = least(known.tokens, coalesce(excluded.rate_count, 0));
    PERFORM longhaul.apply_gate(set_queue.name);
END $$;

-- Pauses or resumes a task type: its tasks are held, whatever their queue.
CREATE FUNCTION longhaul.pause_type(name text, paused boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    waiting text;
BEGIN
    UPDATE longhaul.task_type y SET paused_at = CASE WHEN pause_type.paused THEN coalesce(y.paused_at, now()) END
     WHERE y.name = pause_type.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no task type %', pause_type.name USING ERRCODE = 'no_data_found';
    END IF;
    LOCK TABLE longhaul.ready IN SHARE ROW EXCLUSIVE MODE;
    IF pause_type.paused THEN
        WITH stopped AS (
            DELETE FROM longhaul.ready r USING longhaul.task t
             WHERE t.id = coalesce(r.task_id, r.id) AND t.type = pause_type.name
            RETURNING r.queue, r.priority, t.id, coalesce(t.key, '') AS key
        ), held AS (
            INSERT INTO longhaul.held (queue, key, priority, id, type)
            SELECT queue, key, priority, id, pause_type.name FROM stopped
            RETURNING id
        )
        DELETE FROM longhaul.admitted a USING held h WHERE a.id = h.id;
    ELSE
        FOR waiting IN SELECT DISTINCT h.queue FROM longhaul.held h WHERE h.type = pause_type.name ORDER BY 1 LOOP
            PERFORM longhaul.admit(waiting);
        END LOOP;
    END IF;
END $$;

-- Cancels a task: at once if it waits (returns 'Cancelled'), by asking its worker
-- if it runs ('Requested'). 'Ended' if it is over, NULL if there is none.
CREATE FUNCTION longhaul.cancel(id uuid) RETURNS text
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
        INSERT INTO longhaul.cancel_request (task_id) VALUES (t.id) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('longhaul_cancel', t.id::text);
        RETURN 'Requested';
    END IF;
    UPDATE longhaul.task SET state = 'Cancelled', finished_at = now() WHERE task.id = t.id;
    DELETE FROM longhaul.task_key k WHERE k.key = t.unique_key AND k.task_id = t.id AND k.expires_at IS NULL;
    DELETE FROM longhaul.admitted a WHERE a.id = t.id;
    RETURN 'Cancelled';
END $$;

-- Runs a failed or cancelled task again, with as many attempts as its type has,
-- from its last checkpoint. 'Queued' if so; 'Open' if it is not over, 'Succeeded'
-- if it ended well, 'Taken' if another open task has its unique key; NULL if
-- there is none.
CREATE FUNCTION longhaul.retry(id uuid) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    t longhaul.task;
BEGIN
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
    UPDATE longhaul.task
       SET state = 'Queued', finished_at = NULL, error = NULL, run_at = NULL, crashes = 0,
           fraction = CASE WHEN checkpoint IS NULL THEN 0 ELSE fraction END,
           max_attempts = least(t.attempt + coalesce((SELECT y.max_attempts FROM longhaul.task_type y WHERE y.name = t.type),
                                                     t.max_attempts), 32767)
     WHERE task.id = t.id;
    INSERT INTO longhaul.ready (queue, priority, id) VALUES (t.queue, t.priority, t.id);
    PERFORM pg_notify('longhaul_ready', t.queue);
    RETURN 'Queued';
END $$;

COMMENT ON FUNCTION longhaul.cancel(uuid) IS 'Cancels a task: at once if it waits, by asking its worker if it runs.';
COMMENT ON FUNCTION longhaul.retry(uuid) IS 'Runs a failed or cancelled task again.';
COMMENT ON FUNCTION longhaul.set_queue IS 'Pauses or resumes a queue and sets its limits; NULL means no limit.';
COMMENT ON FUNCTION longhaul.pause_type IS 'Pauses or resumes a task type.';

-- The gatekeeper's work on one queue; workers call it whenever something of the queue has
-- changed, and once a second. One transaction at a time does it, which sees all that was
-- admitted before: so limits hold exactly. `mine`: no other transaction was at it. `full`:
-- new tasks make no difference until a place is free. `more`: call it again at once.
-- `next_in`: call it again after so many seconds, though nothing happens. Held tasks are
-- looked through for those whose type is not paused any more if `look_back`, or if no type is
-- paused, when it costs nothing.
CREATE OR REPLACE FUNCTION longhaul.keep_gate(queue_name text, look_back boolean,
    OUT mine boolean, OUT gated boolean, OUT admitted integer, OUT "full" boolean, OUT more boolean,
    OUT next_in double precision)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    q longhaul.queue;
    g longhaul.gate;
    before longhaul.gate;
    paused_types text[];
    by_turns boolean;
    room integer;
    moved integer;
    ids uuid[];
    priorities smallint[];
    keys text[];
    now_at timestamptz;
    but uuid[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'longhaul.keep_gate needs READ COMMITTED: it has to see what was committed before it got its lock'
            USING ERRCODE = 'invalid_transaction_state', HINT = 'See default_transaction_isolation of the role.';
    END IF;
    admitted := 0;
    "full" := false;
    more := false;
    mine := pg_try_advisory_xact_lock(hashtextextended('longhaul.admit:' || queue_name, 0));
    IF NOT mine THEN
        RETURN;
    END IF;
    -- From here on, statements see what the last transaction that was at it has committed, and
    -- it is later than it was there.
    now_at := clock_timestamp();
    SELECT * INTO q FROM longhaul.queue o WHERE o.name = queue_name;
    SELECT * INTO before FROM longhaul.gate o WHERE o.queue = queue_name;
    gated := coalesce(q.gated, false);
    paused_types := ARRAY(SELECT y.name FROM longhaul.task_type y WHERE y.paused_at IS NOT NULL);
    but := ARRAY(SELECT longhaul.aside('gatekeeper/tasks'));

    IF NOT gated THEN
        moved := longhaul.recall(queue_name, but, 5000);
        more := moved = 5000;
        DELETE FROM longhaul.admitted a
         WHERE a.ctid = ANY (ARRAY(SELECT o.ctid FROM longhaul.admitted o WHERE o.queue = queue_name FOR UPDATE SKIP LOCKED));
        DELETE FROM longhaul.gate o WHERE o.queue = queue_name;
        IF look_back OR paused_types = '{}' THEN
            moved := moved + longhaul.unhold(queue_name, but, paused_types, 5000);
            more := moved >= 5000;
        END IF;
        IF moved > 0 THEN
            PERFORM pg_notify('longhaul_ready', queue_name);
        END IF;
        RETURN;
    END IF;

    g := before;
    IF g.queue IS NULL OR g.gating <> q.gating THEN
        g.queue := queue_name;
        g.gating := q.gating;
        g.closed_at := now_at;
        g.counted_at := NULL;
        g.claims_before := NULL;
        g.last_key := coalesce(g.last_key, '');
    END IF;
    IF g.revision IS DISTINCT FROM q.revision OR q.paused_at IS NOT NULL THEN
        PERFORM longhaul.recall(queue_name, but, 1000000);
        g.revision := q.revision;
    END IF;

    -- A statement has locked its tables before it looks at them. So a claim that may not know
    -- of the gate holds its lock on `lease` now, or is over.
    IF g.counted_at IS NULL THEN
        g.claims_before := ARRAY(
            SELECT DISTINCT l.virtualtransaction FROM pg_locks l
             WHERE l.locktype = 'relation' AND l.relation = 'longhaul.lease'::regclass AND l.mode = 'RowExclusiveLock'
               AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
               AND l.pid IS DISTINCT FROM pg_backend_pid()
               AND (g.claims_before IS NULL OR l.virtualtransaction = ANY (g.claims_before)));
        IF g.claims_before = '{}' OR g.closed_at < now_at - interval '10 seconds' THEN
            PERFORM longhaul.count_admitted(queue_name, but, true);
            g.claims_before := NULL;
            -- Counted again in a second, without those that ended just now.
            g.counted_at := now_at - interval '59 seconds';
        ELSE
            next_in := 0.005;
        END IF;
    ELSIF g.counted_at < now_at - interval '60 seconds' THEN
        PERFORM longhaul.count_admitted(queue_name, but, false);
        g.counted_at := now_at;
    END IF;

    -- A rate begins full, and keeps what it has when it is changed.
    IF q.rate_count IS NULL THEN
        g.tokens := NULL;
        g.refilled_at := NULL;
    ELSE
        g.tokens := least(q.rate_count, coalesce(g.tokens + greatest(extract(epoch FROM now_at - g.refilled_at), 0)
                                                          * q.rate_count / q.rate_seconds, q.rate_count));
        g.refilled_at := now_at;
    END IF;

    IF q.paused_at IS NULL THEN
        by_turns := q.fair OR q.max_per_key IS NOT NULL;
        IF by_turns THEN
            more := longhaul.hold_ready(queue_name, but, 20000) = 20000;
        ELSIF look_back OR paused_types = '{}' THEN
            more := longhaul.unhold(queue_name, but, paused_types, 5000) = 5000;
        END IF;
        -- Not more ahead than workers can use, which is also what keeps turns fair; and not
        -- again before half of it is used up.
        room := 1000;
        IF q.max_running IS NULL OR q.max_running > 1000 THEN
            room := 1000 - (SELECT count(*) FROM (SELECT FROM longhaul.ready r
                                                   WHERE r.queue = queue_name AND r.priority >= 10 LIMIT 1000) AS ahead);
            IF room < 500 THEN
                room := 0;
            END IF;
        END IF;
        IF q.max_running IS NOT NULL THEN
            room := least(room, q.max_running - (SELECT count(*) FROM (SELECT FROM longhaul.admitted a
                                                                        WHERE a.queue = queue_name LIMIT q.max_running) AS counted));
        END IF;
        room := least(room, floor(g.tokens)::integer);
        -- Until all keys are known, no more than keeps workers busy.
        IF more AND by_turns THEN
            room := least(room, 100);
        END IF;
        "full" := room <= 0;
        IF g.counted_at IS NOT NULL AND NOT "full" THEN
            IF by_turns THEN
                SELECT t.* INTO ids, priorities, keys
                  FROM longhaul.take_by_turns(queue_name, but, room, q.max_per_key, g.last_key, paused_types) t;
            ELSE
                SELECT t.* INTO ids, priorities, keys, moved FROM longhaul.take_in_order(queue_name, but, room, paused_types) t;
                more := more OR moved > 0;
            END IF;
            admitted := coalesce(cardinality(ids), 0);
            IF admitted > 0 THEN
                -- They stand in `ready` under ids of this moment, in this order: UUIDv7 whose 12
                -- bits after the millisecond go on with the time, so that ids grow from one
                -- admission to the next.
                WITH placed AS MATERIALIZED (
                    SELECT c.id, c.priority, c.key,
                           (lpad(to_hex(c.moment / 4096), 12, '0') || '7' || lpad(to_hex(c.moment % 4096), 3, '0')
                            || '8' || left(md5(c.id::text), 15))::uuid AS place
                      FROM (SELECT unnest(ids) AS id, unnest(priorities) AS priority, unnest(keys) AS key,
                                   (extract(epoch FROM now_at) * 4096000)::bigint + generate_subscripts(ids, 1) AS moment) AS c
                ), counted AS (
                    -- It is there already if the count added it just as it went back (count_admitted.sql).
                    INSERT INTO longhaul.admitted (id, queue, key, place)
                    SELECT p.id, queue_name, p.key, p.place FROM placed p
                        ON CONFLICT (id) DO UPDATE SET queue = excluded.queue, key = excluded.key, place = excluded.place
                )
                INSERT INTO longhaul.ready (queue, priority, id, task_id)
                SELECT queue_name, p.priority + 10, p.place, p.id FROM placed p;
                g.tokens := g.tokens - admitted;
                IF by_turns THEN
                    g.last_key := keys[admitted];
                    more := more OR admitted < room;
                END IF;
                PERFORM pg_notify('longhaul_admitted', queue_name);
            END IF;
        END IF;
        IF g.tokens < 1 THEN
            next_in := least(next_in, greatest((1 - g.tokens) * q.rate_seconds / q.rate_count, 0.01));
        END IF;
    ELSE
        "full" := true;
    END IF;

    IF before.queue IS NULL THEN
        INSERT INTO longhaul.gate SELECT g.*;
    -- A rate that refills is no change: it is worked out anew from what is written down.
    ELSIF admitted > 0 AND (q.rate_count IS NOT NULL OR by_turns)
          OR (g.revision, g.gating, g.counted_at, g.claims_before, g.tokens IS NULL)
             IS DISTINCT FROM (before.revision, before.gating, before.counted_at, before.claims_before, before.tokens IS NULL) THEN
        UPDATE longhaul.gate o
           SET revision = g.revision, gating = g.gating, closed_at = g.closed_at, counted_at = g.counted_at,
               claims_before = g.claims_before, tokens = g.tokens, refilled_at = g.refilled_at, last_key = g.last_key
         WHERE o.queue = queue_name;
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.keep_gate(text,boolean) FROM PUBLIC;

-- Whoever could call longhaul.admit, which keep_gate replaces, can call this when it is new.
DO $$
DECLARE
    grantee text;
BEGIN
    IF EXISTS (SELECT FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a
                WHERE p.oid = 'longhaul.keep_gate(text, boolean)'::regprocedure AND a.grantee <> p.proowner) THEN
        RETURN;
    END IF;
    FOR grantee IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
          FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE p.oid = to_regprocedure('longhaul.admit(text)') AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
           AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION longhaul.keep_gate(text, boolean) TO %s', grantee);
        EXECUTE format('GRANT SELECT ON longhaul.gate TO %s', grantee);
    END LOOP;
END $$;

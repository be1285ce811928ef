-- Why a task waits that stands in `ready` or `held`, where neither a pause nor a want of
-- workers holds it: limits, turns, its place in line.
CREATE OR REPLACE FUNCTION longhaul.why_in_line(t longhaul.task, workers bigint, slots bigint,
    OUT code text, OUT says text, OUT details jsonb) RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_at CONSTANT timestamptz := clock_timestamp();
    own_key CONSTANT text := longhaul.turn_key(coalesce(t.key, ''));
    key_text CONSTANT text := CASE WHEN t.key IS NULL THEN 'no key' ELSE 'the key ' || left(t.key, 100) END;
    q longhaul.queue;
    g longhaul.gate;
    aside longhaul.set_aside;
    admitted_as uuid;
    is_held boolean;
    by_turns boolean := false;
    limited boolean := false;
    before integer;
    -- Of those, what needs a place or a turn of its rate itself.
    unadmitted integer := 0;
    keys integer;
    tokens double precision;
    earliest timestamptz;
BEGIN
    SELECT * INTO q FROM longhaul.queue o WHERE o.name = t.queue AND o.gated;
    SELECT a.place INTO admitted_as FROM longhaul.admitted a WHERE a.id = t.id AND a.place IS NOT NULL;
    IF q.name IS NULL THEN
        is_held := EXISTS (SELECT FROM longhaul.held h
                            WHERE h.queue = t.queue AND h.key = own_key AND h.priority = t.priority AND h.id = t.id);
        IF is_held THEN
            code := 'admission';
            says := format('It was held while its type %s was paused, and goes back into line within half a minute.', t.type);
            details := jsonb_build_object('Queue', t.queue, 'Type', t.type);
            RETURN NEXT;
            RETURN;
        END IF;
        before := longhaul.count_before(t.queue, t.priority, t.id);
    ELSIF admitted_as IS NOT NULL THEN
        before := longhaul.count_before(t.queue, t.priority + 10, admitted_as);
    ELSIF EXISTS (SELECT FROM longhaul.set_aside a WHERE a.id = t.id::text AND a.service = 'gatekeeper/tasks') THEN
        -- That is the reason; it is passed over, whatever its place in line.
        RETURN;
    ELSE
        -- Not admitted yet: in the order of longhaul.keep_gate.
        by_turns := q.fair OR q.max_per_key IS NOT NULL;
        IF by_turns THEN
            before := (SELECT count(*) FROM (SELECT FROM longhaul.held h
                                              WHERE h.queue = t.queue AND h.key = own_key AND (h.priority, h.id) < (t.priority, t.id)
                                              LIMIT 10001) AS of_key);
        ELSE
            unadmitted := (SELECT count(*) FROM (SELECT FROM longhaul.ready r
                                                  WHERE r.queue = t.queue AND (r.priority, r.id) < (t.priority, t.id)
                                                  LIMIT 10001) AS first);
            before := unadmitted + (SELECT count(*) FROM (SELECT FROM longhaul.ready r
                                                           WHERE r.queue = t.queue AND r.priority >= 10 LIMIT 10001) AS admitted);
        END IF;
        SELECT * INTO g FROM longhaul.gate o WHERE o.queue = t.queue;
        SELECT * INTO aside FROM longhaul.set_aside a WHERE a.id = t.queue AND a.service = 'gatekeeper';
        IF FOUND THEN
            limited := true;
            code := 'set-aside';
            says := format('The limits of the queue %s can''t be looked after (%s); that is tried again at %s.',
                           t.queue, longhaul.number_of(aside.tries, 'failure'), longhaul.utc_text(aside.next_at));
            details := jsonb_build_object('Service', aside.service, 'Queue', t.queue, 'Tries', aside.tries,
                'Since', longhaul.whole_seconds(aside.since), 'Until', longhaul.whole_seconds(aside.next_at));
            RETURN NEXT;
        END IF;
        IF q.max_running <= (SELECT count(*) FROM (SELECT FROM longhaul.admitted a
                                                    WHERE a.queue = t.queue LIMIT q.max_running) AS counted) THEN
            limited := true;
            code := 'limit';
            says := format('The queue %s runs at most %s at once, and all of these places are taken.',
                           t.queue, longhaul.number_of(q.max_running, 'task'));
            details := jsonb_build_object('Queue', t.queue, 'MaxRunning', q.max_running);
            RETURN NEXT;
        END IF;
        IF q.max_per_key <= (SELECT count(*) FROM (SELECT FROM longhaul.admitted a
                                                    WHERE a.queue = t.queue AND a.key = own_key LIMIT q.max_per_key) AS counted) THEN
            limited := true;
            code := 'key-limit';
            says := format('The queue %s runs at most %s of one key at once, and the places of tasks with %s are taken.',
                           t.queue, longhaul.number_of(q.max_per_key, 'task'), key_text);
            details := jsonb_strip_nulls(jsonb_build_object('Queue', t.queue, 'Key', t.key, 'MaxPerKey', q.max_per_key));
            RETURN NEXT;
        END IF;
        IF q.rate_count IS NOT NULL THEN
            tokens := least(q.rate_count, coalesce(g.tokens + greatest(extract(epoch FROM now_at - g.refilled_at), 0)
                                                              * q.rate_count / q.rate_seconds, q.rate_count));
            IF tokens < 1 THEN
                limited := true;
                earliest := now_at + make_interval(secs => least(
                    (1 + unadmitted - tokens) * q.rate_seconds / q.rate_count, 3e8));
                code := 'rate';
                says := format('The queue %s begins at most %s in %s s, and these have begun; the turn of this one comes about %s at the earliest.',
                               t.queue, longhaul.number_of(q.rate_count, 'task'), q.rate_seconds, longhaul.utc_text(earliest));
                details := jsonb_build_object('Queue', t.queue, 'RateCount', q.rate_count, 'RateSeconds', q.rate_seconds,
                    'Until', longhaul.whole_seconds(earliest));
                RETURN NEXT;
            END IF;
        END IF;
        IF by_turns THEN
            WITH RECURSIVE waiting AS (
                (SELECT h.key, 1 AS number FROM longhaul.held h WHERE h.queue = t.queue ORDER BY h.key LIMIT 1)
                UNION ALL
                SELECT n.key, w.number + 1 FROM waiting w CROSS JOIN LATERAL (
                    SELECT h.key FROM longhaul.held h
                     WHERE h.queue = t.queue AND h.key > w.key ORDER BY h.key LIMIT 1) n
                 WHERE w.number < 102
            )
            SELECT count(*) INTO keys FROM waiting w WHERE w.key <> own_key;
            IF before > 0 OR keys > 0 THEN
                limited := true;
                code := 'turn';
                says := format('Keys take turns in the queue %s; before this task are %s.', t.queue, concat_ws(' and ',
                    CASE WHEN before > 10000 THEN 'more than 10,000 tasks with ' || key_text
                         WHEN before > 0 THEN format('about %s with %s', longhaul.number_of(before, 'task'), key_text) END,
                    CASE WHEN keys > 100 THEN 'the turns of more than 100 other keys'
                         WHEN keys > 0 THEN 'the turns of ' || longhaul.number_of(keys, 'other key') END));
                details := jsonb_strip_nulls(jsonb_build_object('Queue', t.queue, 'Key', t.key,
                    'Before', least(before, 10000), 'More', CASE WHEN before > 10000 THEN true END,
                    'Keys', least(keys, 100), 'MoreKeys', CASE WHEN keys > 100 THEN true END));
                RETURN NEXT;
            END IF;
        END IF;
        IF NOT limited AND before = 0 THEN
            code := 'admission';
            says := format('The queue %s has limits; a worker has to admit this task first, which takes about a second.', t.queue);
            details := jsonb_build_object('Queue', t.queue);
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    IF NOT by_turns THEN
        code := 'line';
        says := format('It stands %s, served by %s with %s.',
            CASE WHEN before = 0 THEN 'first in the queue ' || t.queue
                 WHEN before > 10000 THEN format('in the queue %s behind more than 10,000 tasks', t.queue)
                 ELSE format('in the queue %s behind about %s', t.queue, longhaul.number_of(before, 'task')) END,
            longhaul.number_of(workers, 'worker'), longhaul.number_of(slots, 'slot'));
        details := jsonb_strip_nulls(jsonb_build_object('Queue', t.queue, 'Before', least(before, 10000),
            'More', CASE WHEN before > 10000 THEN true END, 'Workers', workers, 'Slots', slots));
        RETURN NEXT;
    END IF;
END $$;

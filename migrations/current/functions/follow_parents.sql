-- Stops, ends or wakes these parents.
CREATE OR REPLACE FUNCTION longhaul.follow_parents(parents uuid[]) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one longhaul.family;
    t longhaul.task;
    becomes longhaul.task_state;
    ended uuid[] := '{}';
    stopped uuid[];
    cause uuid;
    -- Children that one call cancels at most, whoever their parents are: each is locked.
    room integer := 1000;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    -- A parent that was cancelled while it waited takes its children along.
    UPDATE longhaul.family f SET stopping = true
     WHERE f.parent_id = ANY (parents) AND f.waiting AND NOT f.stopping AND f.succeeded + f.failed + f.cancelled < f.children
       AND EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = f.parent_id);
    FOR one IN SELECT * FROM longhaul.family f WHERE f.parent_id = ANY (parents) AND f.stopping AND f.stopped_to < f.children LOOP
        EXIT WHEN room <= 0;
        WITH asked AS MATERIALIZED (
            SELECT c.id, longhaul.cancel(c.id) AS said FROM longhaul.child c
             WHERE c.parent_id = one.parent_id AND c.number > one.stopped_to AND c.number <= one.stopped_to + room
        )
        SELECT array_agg(a.id) INTO stopped FROM asked a WHERE a.said IN ('Cancelled', 'Requested');
        IF stopped IS NOT NULL THEN
            -- The parent was cancelled, or a child was.
            SELECT p.id INTO cause FROM longhaul.task p
             WHERE p.id = one.parent_id
               AND (p.state = 'Cancelled' OR EXISTS (SELECT FROM longhaul.cancel_request r WHERE r.task_id = p.id));
            IF cause IS NULL THEN
                SELECT c.id INTO cause FROM longhaul.child c JOIN longhaul.task k ON k.id = ANY (ARRAY[c.id])
                 WHERE c.parent_id = one.parent_id AND k.state = 'Cancelled' AND c.id <> ALL (stopped)
                 ORDER BY c.number LIMIT 1;
            END IF;
            PERFORM longhaul.note_consequences(stopped, array_fill(cause, ARRAY[cardinality(stopped)])) WHERE cause IS NOT NULL;
        END IF;
        UPDATE longhaul.family o SET stopped_to = least(o.stopped_to + room, o.children) WHERE o.parent_id = one.parent_id;
        room := room - (one.children - one.stopped_to);
    END LOOP;
    UPDATE longhaul.family f SET stopping = false
     WHERE f.parent_id = ANY (parents) AND f.stopping AND NOT f.waiting AND f.stopped_to >= f.children;
    FOR one IN
        SELECT * FROM longhaul.family f
         WHERE f.parent_id = ANY (parents) AND f.waiting AND f.succeeded + f.failed + f.cancelled >= f.children
    LOOP
        SELECT * INTO t FROM longhaul.task p WHERE p.id = one.parent_id FOR NO KEY UPDATE;
        UPDATE longhaul.family o SET waiting = false, stopping = false WHERE o.parent_id = one.parent_id;
        IF EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = one.parent_id) THEN
            becomes := 'Cancelled';
        ELSIF one.resume THEN
            UPDATE longhaul.task p SET state = 'Queued', attempt = greatest(p.attempt - 1, 0) WHERE p.id = one.parent_id;
            PERFORM longhaul.make_ready(ARRAY[t.id], ARRAY[t.queue], ARRAY[t.priority]);
            CONTINUE;
        ELSIF one.failed + one.cancelled > 0 AND one.if_failed <> 'Ignore' THEN
            becomes := 'Failed';
        ELSE
            becomes := 'Succeeded';
        END IF;
        UPDATE longhaul.task p
           SET state = becomes, finished_at = now(),
               message = format('%s of %s tasks succeeded', one.succeeded, one.children),
               total_elements = one.elements, processed_elements = greatest(one.elements - one.unprocessed, 0),
               fraction = CASE WHEN becomes = 'Succeeded' THEN 1
                               ELSE least(greatest(p.fraction, (one.children - one.undone) / greatest(one.children, 1)), 1) END,
               result = jsonb_build_object('Children', one.children, 'Succeeded', one.succeeded, 'Failed', one.failed,
                                           'Cancelled', one.cancelled),
               error = CASE WHEN becomes = 'Failed' THEN jsonb_build_object(
                   'type', 'urn:longhaul:problem:children-failed', 'title', 'Tasks of the batch did not succeed',
                   'status', 500, 'code', 'children-failed',
                   'detail', format('Of %s tasks %s failed and %s were cancelled.', one.children, one.failed, one.cancelled)) END
         WHERE p.id = one.parent_id;
        ended := ended || t.id;
    END LOOP;
    IF ended <> '{}' THEN
        PERFORM longhaul.end_tasks(ended, false);
    END IF;
    RETURN cardinality(parents);
END $$;

-- Cancels a task: at once if it waits (returns 'Cancelled'), by asking its worker if it runs
-- ('Requested'). 'Ended' if it is over; NULL if there is none, or none that the caller may
-- cancel. The children of a parent are cancelled, too.
CREATE OR REPLACE FUNCTION longhaul.cancel(id uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    outsider CONSTANT text := longhaul.outsider();
    t longhaul.task;
    waited boolean := false;
BEGIN
    -- Before anything is locked.
    IF outsider IS NOT NULL AND NOT EXISTS (
        SELECT FROM longhaul.task o WHERE o.id = cancel.id AND longhaul.manages(outsider, 'CancelTasks', o.created_by))
    THEN
        RETURN NULL;
    END IF;
    SELECT * INTO t FROM longhaul.task WHERE task.id = cancel.id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF t.state IN ('Succeeded', 'Failed', 'Cancelled') THEN
        RETURN 'Ended';
    END IF;
    -- If one of these rows can be deleted, the task had not begun. A claim that is under way
    -- is waited for, and has then begun it. The gatekeeper may be moving the task from one of
    -- these places to another, which a second look finds.
    FOR look IN 1 .. 2 LOOP
        DELETE FROM longhaul.ready r
         WHERE r.queue = t.queue AND r.priority IN (t.priority, t.priority + 10)
           AND r.id IN (t.id, (SELECT a.place FROM longhaul.admitted a WHERE a.id = t.id));
        IF NOT FOUND THEN
            DELETE FROM longhaul.held h
             WHERE h.queue = t.queue AND h.key = longhaul.turn_key(coalesce(t.key, '')) AND h.priority = t.priority AND h.id = t.id;
        END IF;
        IF NOT FOUND THEN
            DELETE FROM longhaul.scheduled s WHERE s.run_at = t.run_at AND s.id = t.id;
        END IF;
        IF NOT FOUND THEN
            DELETE FROM longhaul.blocked b WHERE b.id = t.id;
        END IF;
        waited := FOUND;
        EXIT WHEN waited;
    END LOOP;
    IF NOT waited THEN
        INSERT INTO longhaul.cancel_request (task_id) VALUES (t.id) ON CONFLICT DO NOTHING;
        PERFORM pg_notify('longhaul_cancel', t.id::text);
        IF EXISTS (SELECT FROM longhaul.watched) THEN
            PERFORM longhaul.tell_watchers(ARRAY[t.id]);
        END IF;
        IF EXISTS (SELECT FROM longhaul.family f WHERE f.parent_id = t.id) THEN
            PERFORM pg_notify('longhaul_followed', '');
        END IF;
        IF outsider IS NOT NULL THEN
            PERFORM longhaul.note_change(outsider, 'cancelTask',
                                         t.id || ARRAY(SELECT r.id FROM longhaul.reached_by_cancel(ARRAY[t.id]) r), NULL);
        END IF;
        RETURN 'Requested';
    END IF;
    UPDATE longhaul.task SET state = 'Cancelled', finished_at = now() WHERE task.id = t.id;
    PERFORM longhaul.end_tasks(ARRAY[t.id]);
    PERFORM longhaul.note_change(outsider, 'cancelTask', ARRAY[t.id], NULL);
    RETURN 'Cancelled';
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.cancel(uuid) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.cancel(uuid) IS
    'Cancels a task: at once if it waits, by asking its worker if it runs.';

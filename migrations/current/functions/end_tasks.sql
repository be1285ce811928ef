-- Everything that follows from the end of tasks, for all ends: what failed or was cancelled is
-- written down, what succeeded is counted (`successes`), unique keys are free again, requests to cancel are done with, places in limited
-- queues are free, tasks that wait for these are told of (`ended`), and so are watchers.
--
-- Whoever ends tasks writes the end into their rows (`state`, `finished_at`) and calls this in the
-- same transaction. Only the worker's statements for plain successes do without, from which
-- nothing of this follows but the count, the places and the watchers (crates/model/src/store/finish.rs).
--
-- The follower, which looks for ends by itself until there are none, need not be woken.
CREATE OR REPLACE FUNCTION longhaul.end_tasks(ids uuid[], wake_follower boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    succeeded bigint;
    unsuccessful uuid[];
    keys text[];
    followed uuid[];
BEGIN
    SELECT count(*) FILTER (WHERE t.state = 'Succeeded'),
           array_agg(t.id) FILTER (WHERE t.state <> 'Succeeded'),
           array_agg(t.unique_key) FILTER (WHERE t.unique_key IS NOT NULL),
           array_agg(t.id) FILTER (WHERE t.followed)
      INTO succeeded, unsuccessful, keys, followed
      FROM longhaul.task t
     WHERE t.id = ANY (ids) AND t.state IN ('Succeeded', 'Failed', 'Cancelled');
    IF succeeded > 0 THEN
        INSERT INTO longhaul.successes (tasks) VALUES (succeeded);
    END IF;
    IF unsuccessful IS NOT NULL THEN
        PERFORM longhaul.note_unsuccessful(unsuccessful);
    END IF;
    IF keys IS NOT NULL THEN
        DELETE FROM longhaul.task_key k WHERE k.key = ANY (keys) AND k.task_id = ANY (ids) AND k.expires_at IS NULL;
    END IF;
    DELETE FROM longhaul.cancel_request c WHERE c.task_id = ANY (ids);
    PERFORM longhaul.leave_gate(ids);
    IF followed IS NOT NULL THEN
        INSERT INTO longhaul.ended (id) SELECT f.id FROM unnest(followed) AS f(id) ON CONFLICT DO NOTHING;
        IF wake_follower THEN
            PERFORM pg_notify('longhaul_followed', '');
        END IF;
    END IF;
    IF EXISTS (SELECT FROM longhaul.watched) THEN
        PERFORM longhaul.tell_watchers(ids);
    END IF;
END
$$;

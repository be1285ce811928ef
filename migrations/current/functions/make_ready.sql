-- Makes tasks ready, from whatever place they come: puts them into `ready` and wakes the workers of
-- their queues. Whoever calls this has taken them from where they were, in the
-- same transaction. Queues and priorities are theirs, in the order of `ids`.
--
-- Two do without: what stores plain tasks fused for speed (store_tasks.sql); and the gatekeeper, which
-- moves tasks within a queue.
CREATE OR REPLACE FUNCTION longhaul.make_ready(ids uuid[], queues text[], priorities smallint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF ids IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO longhaul.ready (queue, priority, id) SELECT unnest(queues), unnest(priorities), unnest(ids);
    PERFORM longhaul.wake(queues[1]);
    IF array_remove(queues, queues[1]) <> '{}' THEN
        -- More locks than this would fill the server's table of them.
        IF (SELECT count(DISTINCT q.name) FROM unnest(queues) AS q(name)) > 64 THEN
            PERFORM pg_notify('longhaul_ready', q.name) FROM (SELECT DISTINCT unnest(queues) AS name) AS q;
        ELSE
            PERFORM longhaul.wake(q.name) FROM (SELECT DISTINCT unnest(queues) AS name) AS q;
        END IF;
    END IF;
END
$$;

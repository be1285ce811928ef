-- Marks tasks as followed and returns those that there are not. What has ended
-- already is noted at once. It never waits for a lock while it holds another:
-- whoever ends several tasks takes their locks in an order of its own.
CREATE OR REPLACE FUNCTION longhaul.follow_ends(ids uuid[]) RETURNS uuid[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
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
REVOKE EXECUTE ON FUNCTION longhaul.follow_ends(uuid[]) FROM PUBLIC;

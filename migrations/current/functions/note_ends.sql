-- Of these parents and ended tasks, counts children anew that were not counted, and notes
-- ends that nobody has noted. Returns how many.
CREATE OR REPLACE FUNCTION longhaul.note_ends(ids uuid[]) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missed integer;
BEGIN
    -- While this is held no note is taken away: an ended child has been counted or
    -- has one, unless it was missed.
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    WITH counted AS (
        SELECT c.parent_id,
               count(*) FILTER (WHERE t.state = 'Succeeded') AS succeeded,
               count(*) FILTER (WHERE t.state = 'Failed') AS failed,
               count(*) FILTER (WHERE t.state = 'Cancelled') AS cancelled,
               sum(greatest(t.total_elements, 1)) AS elements,
               sum(CASE WHEN t.state = 'Succeeded' OR t.state = 'Failed' AND t.attempt > 0 THEN 0
                        ELSE greatest(t.total_elements, 1) - t.processed_elements END) AS unprocessed,
               sum(CASE WHEN t.state = 'Succeeded' OR t.state = 'Failed' AND t.attempt > 0 THEN 0
                        ELSE 1 - t.fraction END) AS undone
          FROM longhaul.family f
          JOIN longhaul.child c ON c.parent_id = f.parent_id
          JOIN longhaul.task t ON t.id = c.id
         WHERE f.parent_id = ANY (ids) AND f.waiting AND t.finished_at IS NOT NULL
           AND NOT EXISTS (SELECT FROM longhaul.ended e WHERE e.id = c.id AND NOT e.edges_only)
         GROUP BY c.parent_id
    ), mended AS (
        UPDATE longhaul.family f
           SET succeeded = c.succeeded, failed = c.failed, cancelled = c.cancelled,
               elements = least(c.elements, 9007199254740992),
               unprocessed = least(c.unprocessed, 9007199254740992), undone = c.undone
          FROM counted c
         WHERE f.parent_id = c.parent_id AND c.succeeded + c.failed + c.cancelled > f.succeeded + f.failed + f.cancelled
        RETURNING f.parent_id AS id
    ), noted AS (
        INSERT INTO longhaul.ended (id, edges_only)
        SELECT m.id, true FROM mended m
        UNION
        SELECT d.on_id, true FROM longhaul.dependency d JOIN longhaul.task t ON t.id = d.on_id
         WHERE d.on_id = ANY (ids) AND d.outcome IS NULL AND t.finished_at IS NOT NULL
            ON CONFLICT DO NOTHING
        RETURNING id
    )
    SELECT count(*) INTO missed FROM noted;
    IF missed > 0 THEN
        PERFORM pg_notify('longhaul_followed', '');
    END IF;
    RETURN missed;
END $$;

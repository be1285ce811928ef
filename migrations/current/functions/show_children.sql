-- Shows the progress of these parents that wait: the sums of their children's elements,
-- which stop at 2^53, and the mean of their fractions.
CREATE OR REPLACE FUNCTION longhaul.show_children(parents uuid[]) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
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
               sum(c.processed_elements) AS processed, sum(c.fraction::float8) AS fraction
          FROM at_work a JOIN longhaul.task c ON c.id = a.id
         WHERE c.parent_id = ANY (parents) AND c.finished_at IS NULL
         GROUP BY c.parent_id
    ), whole AS (
        SELECT f.parent_id, f.succeeded + f.failed + f.cancelled AS over, f.children, f.failed,
               least(f.elements + coalesce(p.total, 0)
                   + greatest(f.children - f.succeeded - f.failed - f.cancelled - coalesce(p.number, 0), 0),
                   9007199254740992)::bigint AS total,
               least(greatest(f.elements - f.unprocessed, 0) + coalesce(p.processed, 0), 9007199254740992)::bigint AS processed,
               greatest(f.succeeded + f.failed + f.cancelled - f.undone + coalesce(p.fraction, 0), 0) / greatest(f.children, 1) AS fraction
          FROM longhaul.family f LEFT JOIN part p USING (parent_id)
         WHERE f.parent_id = ANY (parents) AND f.waiting
    ), news AS (
        SELECT t.id, w.total, least(greatest(w.processed, t.processed_elements), w.total) AS processed,
               least(greatest(least(w.fraction, 1)::real, t.fraction), 1) AS fraction,
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

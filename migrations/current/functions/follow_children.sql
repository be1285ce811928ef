-- Counts ended children. Numbers of elements stop at 2^53, which is more than anything has.
CREATE OR REPLACE FUNCTION longhaul.follow_children(done uuid[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE longhaul.family f
       SET succeeded = f.succeeded + s.succeeded, failed = f.failed + s.failed, cancelled = f.cancelled + s.cancelled,
           elements = least(f.elements + s.elements, 9007199254740992),
           unprocessed = least(f.unprocessed + s.unprocessed, 9007199254740992), undone = f.undone + s.undone,
           stopping = f.stopping OR (f.if_failed = 'Cancel' AND s.failed + s.cancelled > 0)
      FROM (SELECT c.parent_id,
                   count(*) FILTER (WHERE c.state = 'Succeeded') AS succeeded,
                   count(*) FILTER (WHERE c.state = 'Failed') AS failed,
                   count(*) FILTER (WHERE c.state = 'Cancelled') AS cancelled,
                   sum(greatest(c.total_elements, 1)) AS elements,
                   sum(CASE WHEN c.state = 'Succeeded' OR c.state = 'Failed' AND c.attempt > 0 THEN 0
                            ELSE greatest(c.total_elements, 1) - c.processed_elements END) AS unprocessed,
                   sum(CASE WHEN c.state = 'Succeeded' OR c.state = 'Failed' AND c.attempt > 0 THEN 0
                            ELSE 1 - c.fraction END) AS undone
              FROM longhaul.task c
             WHERE c.id = ANY (done) AND c.parent_id IS NOT NULL AND c.finished_at IS NOT NULL
             GROUP BY c.parent_id) AS s
     WHERE f.parent_id = s.parent_id;
    -- A parent that was cancelled while its handler ran takes its children along.
    UPDATE longhaul.family f SET stopping = true
     WHERE NOT f.stopping AND f.succeeded + f.failed + f.cancelled < f.children
       AND f.parent_id IN (SELECT p.id FROM longhaul.task p WHERE p.id = ANY (done) AND p.state = 'Cancelled');
END $$;

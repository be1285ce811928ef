CREATE OR REPLACE VIEW longhaul.queue_names AS
WITH RECURSIVE waiting (queue) AS (
    -- From one queue's first row to that of the next.
    (SELECT r.queue FROM longhaul.ready r ORDER BY r.queue LIMIT 1)
    UNION ALL
    SELECT (SELECT r.queue FROM longhaul.ready r WHERE r.queue > w.queue ORDER BY r.queue LIMIT 1)
      FROM waiting w WHERE w.queue IS NOT NULL
), held (queue) AS (
    (SELECT h.queue FROM longhaul.held h ORDER BY h.queue LIMIT 1)
    UNION ALL
    SELECT (SELECT r.queue FROM longhaul.held r WHERE r.queue > h.queue ORDER BY r.queue LIMIT 1)
      FROM held h WHERE h.queue IS NOT NULL
), elsewhere (id) AS (
    (SELECT s.id FROM longhaul.scheduled s ORDER BY s.run_at, s.id LIMIT 5000)
    UNION ALL
    (SELECT b.id FROM longhaul.blocked b LIMIT 5000)
    UNION ALL
    SELECT unnest(l.task_ids) FROM longhaul.lease l
)
SELECT y.queue FROM longhaul.task_type y
 UNION
SELECT s.name FROM longhaul.queue s
 UNION
SELECT u.queue FROM longhaul.worker w CROSS JOIN unnest(w.queues) AS u(queue)
 WHERE w.stopped_at IS NULL AND w.lost_at IS NULL AND u.queue IS NOT NULL
 UNION
SELECT w.queue FROM waiting w WHERE w.queue IS NOT NULL
 UNION
SELECT h.queue FROM held h WHERE h.queue IS NOT NULL
 UNION
-- By an array, so that tasks are looked up by the key, however large the table is.
SELECT t.queue FROM longhaul.task t
 WHERE t.id = ANY (ARRAY(SELECT e.id FROM elsewhere e)) AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled');

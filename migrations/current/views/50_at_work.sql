-- What workers run, by worker and queue. A worker claims a few tasks ahead of its free
-- slots where tasks are short: those have not begun.
CREATE OR REPLACE VIEW longhaul.at_work AS
SELECT a.worker_id, a.queue, count(*) AS tasks
  FROM (SELECT l.worker_id, t.queue, w.slots,
               row_number() OVER (PARTITION BY l.worker_id ORDER BY l.number, u.number) AS place
          FROM longhaul.lease l
          LEFT JOIN longhaul.worker w ON w.id = l.worker_id
         CROSS JOIN unnest(l.task_ids) WITH ORDINALITY AS u(id, number)
         CROSS JOIN LATERAL (SELECT t.queue, t.state FROM longhaul.task t WHERE t.id = u.id OFFSET 0) t
         WHERE t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')) a
 WHERE a.slots IS NULL OR a.place <= a.slots
 GROUP BY a.worker_id, a.queue;

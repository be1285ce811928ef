-- What needs a look at tasks is counted once for all queues.
CREATE OR REPLACE VIEW longhaul.queues AS
WITH later AS MATERIALIZED (
    SELECT t.queue, count(*) AS tasks FROM longhaul.task t
     WHERE t.id = ANY (ARRAY(SELECT s.id FROM longhaul.scheduled s)) GROUP BY t.queue
), at_work AS MATERIALIZED (
    SELECT a.queue, sum(a.tasks)::bigint AS tasks FROM longhaul.at_work a GROUP BY a.queue
), served AS MATERIALIZED (
    SELECT s.queue, count(*) AS workers
      FROM longhaul.workers w CROSS JOIN unnest(w.queues) AS s(queue) WHERE w.state = 'alive' GROUP BY s.queue
)
SELECT q.queue,
       (SELECT count(*) FROM longhaul.ready r WHERE r.queue = q.queue AND r.priority >= g.runnable_from) AS ready,
       (SELECT count(*) FROM longhaul.held h WHERE h.queue = q.queue)
           + (SELECT count(*) FROM longhaul.ready r WHERE r.queue = q.queue AND r.priority < g.runnable_from) AS held,
       coalesce(later.tasks, 0) AS scheduled,
       coalesce(at_work.tasks, 0) AS running,
       (SELECT CASE WHEN isfinite(t.accepted_at) THEN now() - t.accepted_at END
                  FROM generate_series(g.runnable_from, 19) AS p(priority)
                 CROSS JOIN LATERAL (SELECT coalesce(r.task_id, r.id) AS id FROM longhaul.ready r
                                      WHERE r.queue = q.queue AND r.priority = p.priority
                                      ORDER BY r.id LIMIT 1) first
                  JOIN longhaul.task t USING (id)
                 ORDER BY t.accepted_at LIMIT 1) AS oldest_waiting,
       -- Workers alive that serve it.
       coalesce(served.workers, 0) AS workers
  FROM (SELECT n.queue COLLATE "default" AS queue FROM longhaul.queue_names n UNION SELECT l.queue FROM later l) q
  LEFT JOIN later ON later.queue = q.queue
  LEFT JOIN at_work ON at_work.queue = q.queue
  LEFT JOIN served ON served.queue = q.queue
 CROSS JOIN LATERAL (
       SELECT CASE WHEN EXISTS (SELECT FROM longhaul.queue s WHERE s.name = q.queue AND s.gated) THEN 10 ELSE 0 END AS runnable_from) g;

COMMENT ON VIEW longhaul.queues IS 'Every queue: how many tasks are ready, scheduled, running, and how long the oldest ready one has waited.';

CREATE OR REPLACE VIEW longhaul.workers AS
SELECT w.id,
       w.name,
       CASE WHEN w.lost_at IS NOT NULL THEN 'lost'
            WHEN w.stopped_at IS NOT NULL THEN 'stopped'
            WHEN longhaul.silence(w.heartbeat_at, now(), coalesce(o.gaps, '{}')) > w.heartbeat_ms * interval '1.7 ms' THEN 'silent'
            ELSE 'alive' END AS state,
       w.queues,
       w.slots,
       -- As in at_work, for one worker.
       least((SELECT count(*) FROM longhaul.lease l CROSS JOIN unnest(l.task_ids) AS u(id) JOIN longhaul.task t USING (id)
               WHERE l.worker_id = w.id AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')), w.slots) AS running,
       CASE WHEN isfinite(w.heartbeat_at) THEN now() - w.heartbeat_at END AS last_heartbeat,
       w.version,
       w.started_at,
       w.stopped_at,
       w.lost_at
  FROM longhaul.worker w LEFT JOIN longhaul.observation o ON true;

COMMENT ON VIEW longhaul.workers IS 'Every worker process: alive, silent, lost or stopped, what it runs and when it last beat.';

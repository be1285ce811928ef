CREATE OR REPLACE VIEW longhaul.tasks AS
SELECT coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id,
       t.id,
       t.type,
       s.state,
       round(t.fraction::numeric, 2) AS progress,
       t.processed_elements,
       t.total_elements,
       t.message,
       CASE WHEN s.state = 'Running' AND t.state <> 'Running' THEN t.attempt + 1 ELSE t.attempt END AS attempt,
       t.max_attempts,
       CASE WHEN isfinite(t.accepted_at) THEN now() - t.accepted_at END AS age,
       CASE WHEN s.state = 'Running'
            THEN (SELECT w.name FROM longhaul.lease l JOIN longhaul.worker w ON w.id = l.worker_id
                   WHERE t.id = ANY (l.task_ids) LIMIT 1)
            ELSE (SELECT w.name FROM longhaul.worker w WHERE w.id = t.worker_id)
       END AS worker,
       coalesce(t.error, (SELECT e.error FROM longhaul.attempt_error e WHERE e.task_id = t.id
                           ORDER BY e.attempt DESC, e.failed_at DESC LIMIT 1)) ->> 'detail' AS last_error,
       t.queue,
       t.priority,
       t.created_by,
       t.accepted_at,
       t.run_at,
       t.started_at,
       t.finished_at,
       longhaul.redacted(t.parameters) AS parameters,
       t.checkpoint,
       t.result,
       t.error,
       t.parent_id,
       (SELECT b.open FROM longhaul.blocked b WHERE b.id = t.id) AS waits_for,
       -- Of the maintenance services that have set it aside.
       (SELECT string_agg(a.service || ': ' || a.error, E'\n' ORDER BY a.service)
          FROM longhaul.set_aside a WHERE a.id = t.id::text) AS problem,
       -- A row with tags or a time limit that nothing stores must not cost the view of all others.
       CASE WHEN t.tags IS NOT NULL THEN ARRAY(SELECT u.tag FROM unnest(t.tags) AS u(tag) WHERE u.tag IS NOT NULL) END AS tags,
       CASE WHEN t.timeout_seconds BETWEEN 0 AND 1e9 THEN t.timeout_seconds * interval '1 second' END AS timeout
  FROM longhaul.task t
  LEFT JOIN longhaul.task_type y ON y.name = t.type
 CROSS JOIN LATERAL (
       SELECT CASE WHEN t.state IN ('Succeeded', 'Failed', 'Cancelled') THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.ready r
                                 WHERE r.queue = t.queue AND r.priority = t.priority AND r.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.admitted a
                                  JOIN longhaul.ready r ON r.queue = t.queue AND r.priority = t.priority + 10 AND r.id = a.place
                                 WHERE a.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.scheduled p
                                 WHERE p.run_at = t.run_at AND p.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.held h
                                 WHERE h.queue = t.queue AND h.key = longhaul.turn_key(coalesce(t.key, ''))
                                   AND h.priority = t.priority AND h.id = t.id) THEN t.state
                   WHEN EXISTS (SELECT FROM longhaul.blocked b WHERE b.id = t.id) THEN t.state
                   ELSE 'Running'::longhaul.task_state
              END AS state) s;

COMMENT ON VIEW longhaul.tasks IS 'Every task in words: state, progress (0 to 1), message, attempt, age, worker, last error.';

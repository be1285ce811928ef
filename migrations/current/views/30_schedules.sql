CREATE OR REPLACE VIEW longhaul.schedules AS
SELECT s.name,
       CASE WHEN s.paused THEN 'paused' WHEN s.problem IS NOT NULL THEN 'broken' WHEN s.next_at IS NULL THEN 'over'
            ELSE 'active' END AS state,
       s.cron,
       s.time_zone,
       s.type,
       CASE WHEN NOT s.paused THEN s.next_at END AS next_at,
       CASE WHEN NOT s.paused AND isfinite(s.next_at) THEN s.next_at - now() END AS next_in,
       s.last_fired_at,
       (SELECT coalesce(y.id_prefix, lower(s.type) || '-') || f.task_id
          FROM longhaul.firing f LEFT JOIN longhaul.task_type y ON y.name = s.type
         WHERE f.schedule = s.name ORDER BY f.due_at DESC LIMIT 1) AS last_task,
       s.fired,
       s.last_skipped_at,
       s.missed,
       s.problem,
       longhaul.redacted(s.parameters) AS parameters,
       s.queue,
       s.priority,
       s.created_at,
       s.changed_at,
       s.key,
       substr(s.unique_key, length(s.type) + 4) AS unique_key,
       CASE WHEN s.unique_seconds BETWEEN 0 AND 1e9 THEN s.unique_seconds * interval '1 second' END AS unique_for,
       s.max_attempts,
       CASE WHEN s.timeout_seconds BETWEEN 0 AND 1e9 THEN s.timeout_seconds * interval '1 second' END AS timeout,
       s.tags
  FROM longhaul.schedule s;

COMMENT ON VIEW longhaul.schedules IS
    'Every cron schedule: active, paused, broken or over, when it fires next, its last task, how often it fired.';

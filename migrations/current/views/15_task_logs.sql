CREATE OR REPLACE VIEW longhaul.task_logs AS
SELECT coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id,
       l.task_id,
       l.number,
       l.logged_at,
       l.attempt,
       CASE l.level WHEN 1 THEN 'Info' WHEN 2 THEN 'Warn' WHEN 3 THEN 'Error' END AS level,
       l.line
  FROM longhaul.task_log l
  JOIN longhaul.task t ON t.id = l.task_id
  LEFT JOIN longhaul.task_type y ON y.name = t.type;

COMMENT ON VIEW longhaul.task_logs IS 'What tasks have logged. Numbers that are missing are of lines that were dropped.';

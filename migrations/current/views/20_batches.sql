CREATE OR REPLACE VIEW longhaul.batches AS
SELECT coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id,
       t.type,
       CASE WHEN t.finished_at IS NOT NULL THEN t.state ELSE 'Running' END AS state,
       round(t.fraction::numeric, 2) AS progress,
       f.children,
       f.succeeded,
       f.failed,
       f.cancelled,
       f.children - f.succeeded - f.failed - f.cancelled AS open,
       f.waiting,
       f.if_failed,
       t.id
  FROM longhaul.family f
  JOIN longhaul.task t ON t.id = f.parent_id
  LEFT JOIN longhaul.task_type y ON y.name = t.type;

COMMENT ON VIEW longhaul.batches IS 'Every task with children: how many there are, and how they ended.';

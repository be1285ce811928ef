CREATE OR REPLACE VIEW longhaul.set_aside_tasks AS
SELECT coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id,
       t.type,
       a.service,
       a.id,
       a.error,
       a.since,
       a.tries,
       a.next_at
  FROM longhaul.set_aside a
  LEFT JOIN longhaul.task t ON t.id = CASE WHEN a.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN a.id::uuid END
  LEFT JOIN longhaul.task_type y ON y.name = t.type;

COMMENT ON VIEW longhaul.set_aside_tasks IS
    'What a maintenance service could not process and passes over until it tries again: the service, the task (or the queue''s or schedule''s name), the error.';

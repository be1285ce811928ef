-- For people.
CREATE OR REPLACE VIEW longhaul.failures AS
SELECT coalesce(y.id_prefix, lower(u.type) || '-') || u.task_id AS public_id,
       u.type,
       u.queue,
       u.code,
       (SELECT t.error ->> 'detail' FROM longhaul.task t WHERE t.id = u.task_id) AS detail,
       u.created_by,
       u.accepted_at,
       u.ended_at AS failed_at,
       u.task_id AS id
  FROM longhaul.unsuccessful u
  LEFT JOIN longhaul.task_type y ON y.name = u.type
 WHERE u.state = 'Failed';

COMMENT ON VIEW longhaul.failures IS
    'Every task that failed and is kept; SELECT code, count(*) FROM longhaul.failures GROUP BY 1 is exact and quick.';

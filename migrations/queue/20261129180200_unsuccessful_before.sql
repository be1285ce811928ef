-- What failed or was cancelled before. It reads all tasks and keeps nobody waiting; what
-- workers of an earlier release end meanwhile is found by the repairer.
INSERT INTO longhaul.unsuccessful (state, task_id, type, queue, created_by, code, accepted_at, ended_at)
SELECT t.state, t.id, t.type, t.queue, t.created_by, t.error ->> 'code', t.accepted_at, t.finished_at
  FROM longhaul.task t
 WHERE t.state IN ('Failed', 'Cancelled')
    ON CONFLICT DO NOTHING;

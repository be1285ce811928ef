-- As longhaul.tasks, of the tenants that the caller may see. A security barrier: no condition of a
-- query, however cheap it claims to be, is tried on a row before the row is known to be allowed.
--
-- What tenants see is looked up a task at a time from the tasks of their own: the planner guesses
-- wrongly how many those are, and would read every task of everyone a second time to join them.
-- OFFSET 0 keeps the two from being joined in another way. Whoever asks for one id has the
-- condition on the tenant's side.
CREATE OR REPLACE VIEW longhaul.tenant_tasks WITH (security_barrier) AS
SELECT a.tenant,
       v.public_id, a.id, v.type, v.state, v.progress, v.processed_elements, v.total_elements,
       v.message, v.attempt, v.max_attempts, v.age, v.worker, v.last_error, v.queue, v.priority,
       v.created_by, v.accepted_at, v.run_at, v.started_at, v.finished_at, v.parameters, v.checkpoint,
       v.result, v.error, v.parent_id, v.waits_for, v.tags, v.timeout
  FROM longhaul.tenant_task a
 CROSS JOIN LATERAL (SELECT * FROM longhaul.tasks v WHERE v.id = a.id OFFSET 0) v;

COMMENT ON VIEW longhaul.tenant_tasks IS 'As longhaul.tasks, but only those of the tenants that longhaul.reader_tenant lists for who asks.';

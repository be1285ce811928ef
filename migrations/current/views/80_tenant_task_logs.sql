-- As longhaul.task_logs, of the tenants that the caller may see. A security barrier: no condition of a
-- query, however cheap it claims to be, is tried on a row before the row is known to be allowed.
--
-- What tenants see is looked up a task at a time from the tasks of their own: the planner guesses
-- wrongly how many those are, and would read every task of everyone a second time to join them.
-- OFFSET 0 keeps the two from being joined in another way. Whoever asks for one id has the
-- condition on the tenant's side.
CREATE OR REPLACE VIEW longhaul.tenant_task_logs WITH (security_barrier) AS
SELECT a.tenant,
       v.public_id, a.id AS task_id, v.number, v.logged_at, v.attempt, v.level, v.line
  FROM longhaul.tenant_task a
 CROSS JOIN LATERAL (SELECT * FROM longhaul.task_logs v WHERE v.task_id = a.id OFFSET 0) v;

COMMENT ON VIEW longhaul.tenant_task_logs IS 'As longhaul.task_logs, but only of the tenants that longhaul.reader_tenant lists for who asks.';

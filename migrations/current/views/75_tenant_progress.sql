-- As longhaul.progress, of the tenants that the caller may see. A security barrier: no condition of a
-- query, however cheap it claims to be, is tried on a row before the row is known to be allowed.
--
-- What tenants see is looked up a task at a time from the tasks of their own: the planner guesses
-- wrongly how many those are, and would read every task of everyone a second time to join them.
-- OFFSET 0 keeps the two from being joined in another way. Whoever asks for one id has the
-- condition on the tenant's side.
CREATE OR REPLACE VIEW longhaul.tenant_progress WITH (security_barrier) AS
SELECT a.tenant,
       v.public_id, a.id, v.type, v.state, v.progress, v.message, v.steps, v.path, v.time_left,
       v.time_left_low, v.time_left_high
  FROM longhaul.tenant_task a
 CROSS JOIN LATERAL (SELECT * FROM longhaul.progress v WHERE v.id = a.id OFFSET 0) v;

COMMENT ON VIEW longhaul.tenant_progress IS 'As longhaul.progress, but only of the tenants that longhaul.reader_tenant lists for who asks.';

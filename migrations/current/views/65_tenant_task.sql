-- The tasks that whoever asks may see. In a view, current_user is who asks, and the
-- rest is read with the rights of the view's owner.
CREATE OR REPLACE VIEW longhaul.tenant_task WITH (security_barrier) AS
SELECT t.id, t.key AS tenant
  FROM longhaul.task t
 WHERE t.key IN (SELECT r.tenant
                   FROM longhaul.reader_tenant r JOIN pg_catalog.pg_roles p ON p.rolname = r.reader
                  WHERE pg_has_role(current_user, p.oid, 'USAGE'));

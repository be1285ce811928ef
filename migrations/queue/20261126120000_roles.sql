-- Least privilege: what the roles of docs/database-roles.md may do is granted by
-- migrations/roles/*.sql after every migration. Here is what that needs: functions
-- with the rights of their owner instead of rights on tables, and views of tenants.

SET LOCAL lock_timeout = '5s';

-- What was granted last, so that `migrate` does it again only if there is something new.
CREATE TABLE longhaul.granted (
    digest     text PRIMARY KEY,
    granted_at timestamptz NOT NULL DEFAULT now()
);

-- Whoever may call these needs no rights on what they change. Names are qualified in
-- all of them; the search path keeps a caller's objects out.
ALTER FUNCTION longhaul.admit(text) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION longhaul.gate() SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION longhaul.make_room() SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION longhaul.set_queue SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION longhaul.pause_type SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION longhaul.cancel(uuid) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION longhaul.retry(uuid) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION longhaul.follow_ends(uuid[]) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

-- So not everyone may call them any more. Who could use them before, having been
-- granted what they change, still can.
DO $$
DECLARE
    guarded regprocedure;
    grantee text;
BEGIN
    FOR guarded IN
        SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'longhaul'::regnamespace AND p.prosecdef
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', guarded);
        CONTINUE WHEN guarded::text LIKE 'longhaul.enqueue%';
        FOR grantee IN
            SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
              FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
             WHERE c.oid = 'longhaul.task'::regclass AND a.privilege_type = 'UPDATE' AND a.grantee <> c.relowner
               AND (a.grantee = 0 OR r.rolname IS NOT NULL)
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', guarded, grantee);
        END LOOP;
    END LOOP;
END
$$;

-- Tenants --------------------------------------------------------------------

-- Which tenants' tasks a role that was granted longhaul_tenant_reader, or a role that
-- it belongs to, may see. A task's tenant is its key (TaskType::key); a task without
-- one belongs to none.
CREATE TABLE longhaul.reader_tenant (
    reader text NOT NULL,
    tenant text NOT NULL,
    PRIMARY KEY (reader, tenant)
);

-- The tasks that whoever asks may see. In a view, current_user is who asks, and the
-- rest is read with the rights of the view's owner.
CREATE VIEW longhaul.tenant_task WITH (security_barrier) AS
SELECT t.id, t.key AS tenant
  FROM longhaul.task t
 WHERE t.key IN (SELECT r.tenant
                   FROM longhaul.reader_tenant r JOIN pg_catalog.pg_roles p ON p.rolname = r.reader
                  WHERE pg_has_role(current_user, p.oid, 'USAGE'));

-- As the views without "tenant_". A security barrier: no condition of a query, however
-- cheap it claims to be, is tried on a row before the row is known to be allowed.
CREATE VIEW longhaul.tenant_tasks WITH (security_barrier) AS
SELECT a.tenant, v.* FROM longhaul.tenant_task a JOIN longhaul.tasks v ON v.id = a.id;

CREATE VIEW longhaul.tenant_progress WITH (security_barrier) AS
SELECT a.tenant, v.* FROM longhaul.tenant_task a JOIN longhaul.progress v ON v.id = a.id;

CREATE VIEW longhaul.tenant_task_logs WITH (security_barrier) AS
SELECT a.tenant, v.* FROM longhaul.tenant_task a JOIN longhaul.task_logs v ON v.task_id = a.id;

COMMENT ON TABLE longhaul.reader_tenant IS 'Which tenants'' tasks a role may see through longhaul.tenant_tasks and its like.';
COMMENT ON VIEW longhaul.tenant_tasks IS 'As longhaul.tasks, but only those of the tenants that longhaul.reader_tenant lists for who asks.';
COMMENT ON VIEW longhaul.tenant_progress IS 'As longhaul.progress, but only of the tenants that longhaul.reader_tenant lists for who asks.';
COMMENT ON VIEW longhaul.tenant_task_logs IS 'As longhaul.task_logs, but only of the tenants that longhaul.reader_tenant lists for who asks.';

-- A login that may call longhaul.enqueue and its like used to start every type, as anyone:
-- also CancelTasks, as an administrator. Now
-- * who a task is by is what the database knows: `sql:` and the role, and behind it what the
--   application says of its own users. No caller of the API has such a name.
-- * a role starts the types that were granted to it, or to a role that it belongs to.
-- * it cancels and runs again what it started itself, and the tasks of others if it may
--   start CancelTasks or RetryTasks.
-- None of this binds who may write the table of tasks itself: the owner, API and workers.

SET LOCAL lock_timeout = '5s';

-- Which types of tasks a role may start from SQL. `public` stands for all roles.
CREATE TABLE longhaul.role_type (
    role text NOT NULL,
    type text NOT NULL,
    PRIMARY KEY (role, type)
);

-- Whoever may call these functions today goes on as before with the types that there are,
-- but for those that act on the queue itself. Whoever may call cancel and retry could do so
-- to every task, which is what CancelTasks and RetryTasks stand for.
INSERT INTO longhaul.role_type (role, type)
WITH callers AS (
    SELECT p.proname, CASE a.grantee WHEN 0 THEN 'public' ELSE r.rolname END AS role
      FROM pg_proc p
     CROSS JOIN LATERAL aclexplode(p.proacl) a
      LEFT JOIN pg_roles r ON r.oid = a.grantee
     WHERE p.pronamespace = 'longhaul'::regnamespace
       AND p.proname IN ('enqueue', 'enqueue_after', 'enqueue_batch', 'cancel', 'retry')
       AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
       AND (a.grantee = 0 OR has_table_privilege(r.oid, 'longhaul.task'::regclass, 'INSERT') IS FALSE)
)
SELECT c.role, y.name FROM callers c CROSS JOIN longhaul.task_type y
 WHERE c.proname LIKE 'enqueue%' AND y.name NOT IN ('Batch', 'CancelTasks', 'RetryTasks')
UNION
SELECT c.role, CASE c.proname WHEN 'cancel' THEN 'CancelTasks' ELSE 'RetryTasks' END FROM callers c
 WHERE c.proname IN ('cancel', 'retry');

COMMENT ON TABLE longhaul.role_type IS 'Which types of tasks a role may start from SQL; see longhaul.grant_types.';

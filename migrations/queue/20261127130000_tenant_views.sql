-- What tenants see, looked up a task at a time from the tasks of their own: the planner
-- guesses wrongly how many those are, and read every task of everyone a second time to
-- join them. With an index on task (key), which installations with tenants' readers may
-- make (docs/database-roles.md), nothing is read but the tenant's own.

SET LOCAL lock_timeout = '5s';

-- The columns stay as they are, whatever came before.
DO $$
DECLARE
    source  record;
    columns text;
BEGIN
    FOR source IN SELECT * FROM (VALUES ('tasks', 'id'), ('progress', 'id'), ('task_logs', 'task_id')) AS s(name, id) LOOP
        SELECT string_agg(CASE attname WHEN source.id THEN 'a.id AS ' || source.id ELSE format('v.%I', attname) END, ', ' ORDER BY attnum)
          INTO STRICT columns
          FROM pg_attribute
         WHERE attrelid = ('longhaul.' || source.name)::regclass AND attnum > 0 AND NOT attisdropped;
        -- OFFSET 0 keeps the two from being joined in another way. Who asks for one id
        -- has the condition on the tenant's side.
        EXECUTE format(
            'CREATE OR REPLACE VIEW longhaul.tenant_%1$s WITH (security_barrier) AS
             SELECT a.tenant, %2$s
               FROM longhaul.tenant_task a
              CROSS JOIN LATERAL (SELECT * FROM longhaul.%1$s v WHERE v.%3$I = a.id OFFSET 0) v',
            source.name, columns, source.id);
    END LOOP;
END
$$;

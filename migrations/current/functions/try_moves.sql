-- Tries whether the database lets these tasks be moved as the steps above would, from each
-- place to each other one, and undoes it. It can't call the steps: they choose the tasks
-- themselves, by order and room, and pass over what is set aside. It needs no rule of theirs but
-- which tables a task can be in; ids and order of places make no difference here.
CREATE OR REPLACE FUNCTION longhaul.try_moves(ids uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tried longhaul.held[];
BEGIN
    tried := ARRAY(SELECT ROW(t.queue, longhaul.turn_key(coalesce(t.key, '')), t.priority, t.id, t.type)::longhaul.held
                     FROM longhaul.task t WHERE t.id = ANY (ids) AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled'));
    DELETE FROM longhaul.ready r USING unnest(tried) AS t
     WHERE r.queue = t.queue AND (r.id = t.id AND r.task_id IS NULL OR r.task_id = t.id);
    DELETE FROM longhaul.held h USING unnest(tried) AS t WHERE h.queue = t.queue AND h.id = t.id;
    DELETE FROM longhaul.admitted a WHERE a.id = ANY (ids);
    INSERT INTO longhaul.held (queue, key, priority, id, type) SELECT t.queue, t.key, t.priority, t.id, t.type FROM unnest(tried) AS t;
    INSERT INTO longhaul.ready (queue, priority, id) SELECT t.queue, t.priority, t.id FROM unnest(tried) AS t;
    INSERT INTO longhaul.admitted (id, queue, key, place) SELECT t.id, t.queue, t.key, t.id FROM unnest(tried) AS t;
    INSERT INTO longhaul.ready (queue, priority, id, task_id)
    SELECT t.queue, t.priority + 10, t.id, t.id FROM unnest(tried) AS t;
    RAISE EXCEPTION 'undone' USING ERRCODE = 'LH000';
EXCEPTION WHEN SQLSTATE 'LH000' THEN
    RETURN;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.try_moves(uuid[]) FROM PUBLIC;

-- Whoever could call longhaul.admit, which keep_gate replaces, can call this when it is new.
DO $$
DECLARE
    grantee text;
BEGIN
    IF EXISTS (SELECT FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a
                WHERE p.oid = 'longhaul.try_moves(uuid[])'::regprocedure AND a.grantee <> p.proowner) THEN
        RETURN;
    END IF;
    FOR grantee IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
          FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE p.oid = to_regprocedure('longhaul.admit(text)') AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
           AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION longhaul.try_moves(uuid[]) TO %s', grantee);
    END LOOP;
END $$;

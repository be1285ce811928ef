-- Writes down tasks that end because someone cancelled others: each of `ids` because of the task
-- at the same place of `causes`. It is written in the name of whoever cancelled that one, and
-- names it. Nothing where nobody's name is known; nor what is written down already.
--
-- A task that ended for want of another is a cause in turn: its own entry says who it was.
CREATE OR REPLACE FUNCTION longhaul.note_consequences(ids uuid[], causes uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    WITH cause AS MATERIALIZED (
        SELECT t.id, coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id
          FROM longhaul.task t LEFT JOIN longhaul.task_type y ON y.name = t.type
         WHERE t.id = ANY (causes)
           AND (t.state = 'Cancelled' OR t.error ->> 'code' = 'dependency-failed'
                OR EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = t.id))
    ), said AS MATERIALIZED (
        SELECT c.id, c.public_id, last.who, last.address
          FROM cause c
         CROSS JOIN LATERAL (SELECT a.who, a.address, a.deed FROM longhaul.audit a
                              WHERE a.target = c.public_id AND a.deed IN ('cancelTask', 'retryTask')
                              ORDER BY a.number DESC LIMIT 1) AS last
         WHERE last.deed = 'cancelTask'
    ), effect AS (
        SELECT t.type, coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id, t.state, s.public_id AS through, s.who, s.address
          FROM unnest(ids, causes) AS i(id, cause)
          JOIN said s ON s.id = i.cause
          JOIN longhaul.task t ON t.id = ANY (ARRAY[i.id])
          LEFT JOIN longhaul.task_type y ON y.name = t.type
         WHERE t.finished_at IS NOT NULL OR EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = t.id)
    )
    INSERT INTO longhaul.audit (who, address, deed, target, details)
    SELECT e.who, e.address, 'cancelTask', e.public_id,
           jsonb_strip_nulls(jsonb_build_object('Type', e.type, 'Through', e.through,
                                                'State', CASE WHEN e.state = 'Failed' THEN 'Failed' END))
      FROM effect e
     WHERE (SELECT a.deed FROM longhaul.audit a
             WHERE a.target = e.public_id AND a.deed IN ('cancelTask', 'retryTask')
             ORDER BY a.number DESC LIMIT 1) IS DISTINCT FROM 'cancelTask';
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.note_consequences(uuid[],uuid[]) FROM PUBLIC;

-- Whoever may try the gatekeeper's moves is a worker, and follows ends: it can call this when it
-- is new.
DO $$
DECLARE
    grantee text;
BEGIN
    IF EXISTS (SELECT FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a
                WHERE p.oid = 'longhaul.note_consequences(uuid[],uuid[])'::regprocedure AND a.grantee <> p.proowner) THEN
        RETURN;
    END IF;
    FOR grantee IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
          FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE p.oid = to_regprocedure('longhaul.try_moves(uuid[])') AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
           AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION longhaul.note_consequences(uuid[], uuid[]) TO %s', grantee);
    END LOOP;
END $$;

-- Writes down those of these tasks that failed or were cancelled.
CREATE OR REPLACE FUNCTION longhaul.note_unsuccessful(ids uuid[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO longhaul.unsuccessful AS known (state, task_id, type, queue, created_by, code, accepted_at, ended_at)
    SELECT t.state, t.id, t.type, t.queue, t.created_by, t.error ->> 'code', t.accepted_at, t.finished_at
      FROM longhaul.task t
     WHERE t.id = ANY (ids) AND t.state IN ('Failed', 'Cancelled')
        ON CONFLICT (state, task_id) DO UPDATE SET code = excluded.code, ended_at = excluded.ended_at;
END $$;

-- Pauses or resumes a task type: whoever would claim its tasks holds them, whatever their queue. A call by
-- an application is recorded in the audit, as those of longhaul.cancel and longhaul.retry are.
CREATE OR REPLACE FUNCTION longhaul.pause_type(name text, paused boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE longhaul.task_type y SET paused_at = CASE WHEN pause_type.paused THEN coalesce(y.paused_at, now()) END
     WHERE y.name = pause_type.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no task type %', pause_type.name USING ERRCODE = 'no_data_found';
    END IF;
    INSERT INTO longhaul.audit (who, deed, target)
    SELECT o.who, CASE WHEN pause_type.paused THEN 'pauseType' ELSE 'resumeType' END, pause_type.name
      FROM longhaul.outsider() AS o(who) WHERE o.who IS NOT NULL;
    PERFORM pg_notify('longhaul_gate', '');
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.pause_type(text,boolean) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.pause_type(text,boolean) IS
    'Pauses or resumes a task type.';

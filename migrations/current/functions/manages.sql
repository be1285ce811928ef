-- Whether an outsider may cancel (CancelTasks) or run again (RetryTasks) a task by this one.
CREATE OR REPLACE FUNCTION longhaul.manages(outsider text, type text, created_by text) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN longhaul.is_by(manages.created_by, manages.outsider) OR longhaul.may_start(manages.type);
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.manages(text,text,text) FROM PUBLIC;

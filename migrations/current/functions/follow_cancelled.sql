-- A request to cancel a running task is removed by the end of that task, whatever the end
-- is. Ends of plain successes look for nothing that might follow from them: so the request
-- marks the task as followed, in the same transaction. The row is locked by whoever cancels:
-- an end that waits for it sees the mark, and an end that came first is seen by the cancel.
CREATE OR REPLACE FUNCTION longhaul.follow_cancelled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE longhaul.task t SET followed = true WHERE t.id = NEW.task_id AND t.followed IS NOT TRUE;
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.follow_cancelled() FROM PUBLIC;

DO $$
BEGIN
    -- To make it again would lock the table.
    IF NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = 'longhaul.cancel_request'::regclass AND g.tgname = 'follow_cancelled') THEN
        CREATE TRIGGER follow_cancelled AFTER INSERT ON longhaul.cancel_request
            FOR EACH ROW EXECUTE FUNCTION longhaul.follow_cancelled();
    END IF;
END
$$;

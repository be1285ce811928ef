-- Runs these tasks again, one after the other in this order, for whoever another task is by, and
-- writes that down, as longhaul.cancel_through does for cancelling.
CREATE OR REPLACE FUNCTION longhaul.retry_through(through uuid, ids uuid[]) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one uuid;
    over CONSTANT uuid[] := ARRAY(
        SELECT t.id FROM longhaul.task t WHERE t.id = ANY (ids) AND t.state IN ('Failed', 'Cancelled')
        UNION SELECT r.id FROM longhaul.reached_by_retry(ids, NULL, '{}') r);
BEGIN
    FOREACH one IN ARRAY ids LOOP
        RETURN NEXT longhaul.retry(one);
    END LOOP;
    PERFORM longhaul.note_through(retry_through.through, 'retryTask', ARRAY(
        SELECT o.id FROM longhaul.task o WHERE o.id = ANY (over) AND o.finished_at IS NULL ORDER BY o.id));
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.retry_through(uuid,uuid[]) FROM PUBLIC;

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
    PERFORM longhaul.note_change(t.created_by, 'retryTask',
                                 ARRAY(SELECT o.id FROM longhaul.task o WHERE o.id = ANY (over) AND o.finished_at IS NULL ORDER BY o.id),
                                 coalesce(y.id_prefix, lower(t.type) || '-') || t.id)
       FROM longhaul.task t LEFT JOIN longhaul.task_type y ON y.name = t.type WHERE t.id = retry_through.through;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.retry_through(uuid,uuid[]) FROM PUBLIC;

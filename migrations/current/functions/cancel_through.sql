-- Cancels these tasks, one after the other in this order, for whoever another task is by,
-- and writes that down: these, and what is cancelled with them.
CREATE OR REPLACE FUNCTION longhaul.cancel_through(through uuid, ids uuid[]) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one uuid;
    said text;
    done uuid[] := '{}';
BEGIN
    FOREACH one IN ARRAY ids LOOP
        said := longhaul.cancel(one);
        IF said IN ('Cancelled', 'Requested') THEN
            done := done || one;
        END IF;
        RETURN NEXT said;
    END LOOP;
    PERFORM longhaul.note_change(t.created_by, 'cancelTask',
                                 done || ARRAY(SELECT r.id FROM longhaul.reached_by_cancel(done) r),
                                 coalesce(y.id_prefix, lower(t.type) || '-') || t.id)
       FROM longhaul.task t LEFT JOIN longhaul.task_type y ON y.name = t.type WHERE t.id = cancel_through.through;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.cancel_through(uuid,uuid[]) FROM PUBLIC;

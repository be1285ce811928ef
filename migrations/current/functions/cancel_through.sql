-- Cancels these tasks, one after the other in this order, for whoever another task is by,
-- and writes that down: these, and what is cancelled with them. longhaul.retry_through does the same
-- for retries; only what is written down is common to both (longhaul.note_through). What a cancel
-- reaches is known after it, and what a retry reaches only before it.
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
    PERFORM longhaul.note_through(cancel_through.through, 'cancelTask',
                                  done || ARRAY(SELECT r.id FROM longhaul.reached_by_cancel(done) r));
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.cancel_through(uuid,uuid[]) FROM PUBLIC;

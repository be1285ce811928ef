-- As longhaul.retry_within, with everything that the caller may run again; NULL also if the
-- task is none that it may.
CREATE OR REPLACE FUNCTION longhaul.retry(id uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    outsider CONSTANT text := longhaul.outsider();
    manager boolean;
    t longhaul.task;
    own uuid[];
    said text;
BEGIN
    IF outsider IS NULL THEN
        RETURN longhaul.retry_within(retry.id, NULL);
    END IF;
    manager := longhaul.may_start('RetryTasks');
    SELECT * INTO t FROM longhaul.task o WHERE o.id = retry.id;
    IF NOT FOUND OR NOT longhaul.manages(outsider, 'RetryTasks', t.created_by) THEN
        RETURN NULL;
    END IF;
    -- A batch is not run itself: its parts are.
    IF NOT manager AND NOT EXISTS (SELECT FROM longhaul.family f WHERE f.parent_id = retry.id AND NOT f.resume) THEN
        PERFORM longhaul.started_by(t.type, NULL);
    END IF;
    SELECT array_agg(o.id) INTO own
      FROM longhaul.reached_by_retry(ARRAY[retry.id], NULL, '{}') r
      JOIN longhaul.task o ON o.id = ANY (ARRAY[r.id])
     WHERE manager OR (longhaul.is_by(o.created_by, outsider) AND longhaul.may_start(o.type));
    own := own || retry.id;
    said := longhaul.retry_within(retry.id, own);
    IF said = 'Queued' THEN
        PERFORM longhaul.note_change(outsider, 'retryTask', ARRAY(
            SELECT o.id FROM longhaul.task o WHERE o.id = ANY (own) AND o.finished_at IS NULL ORDER BY o.id), NULL);
    END IF;
    RETURN said;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.retry(uuid) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.retry(uuid) IS
    'Runs a failed or cancelled task again.';

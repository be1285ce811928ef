-- The database has no key, so what comes from SQL would be stored in plain text, unless
-- it was sealed before: a schedule's.
CREATE OR REPLACE FUNCTION longhaul.refuse_secrets(known longhaul.task_type, parameters jsonb) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF known.secret AND (parameters::text LIKE '%{"$sealed": %') IS NOT TRUE THEN
        RAISE EXCEPTION '% has secret parameters, which SQL can''t seal', known.name
            USING ERRCODE = 'feature_not_supported', HINT = 'Start it by HTTP, or from Rust with NewTask::sealed.';
    END IF;
END
$$;

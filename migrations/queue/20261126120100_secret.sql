-- Parameters that are secret (docs/task-types.md, "Secrets"): API and library store
-- them sealed, as {"$sealed": "…"}.

SET LOCAL lock_timeout = '5s';

-- Whether a type has secret parameters. Processes write it when they register, older
-- ones leave it false.
ALTER TABLE longhaul.task_type ADD COLUMN secret boolean NOT NULL DEFAULT false;

-- Stored parameters for people. Within a JSON text a quotation mark is written \", so
-- no text can look like a sealed secret.
CREATE FUNCTION longhaul.redacted(parameters jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN parameters::text LIKE '%{"$sealed": %'
            THEN regexp_replace(parameters::text, '\{"\$sealed": "[^"]*"\}', '"[redacted]"', 'g')::jsonb
            ELSE parameters END;

-- The views' other columns stay as they are, whatever came before.
DO $$
DECLARE
    shown text;
    view_name text;
BEGIN
    FOREACH view_name IN ARRAY ARRAY['longhaul.tasks', 'longhaul.schedules'] LOOP
        shown := regexp_replace(pg_get_viewdef(view_name::regclass), '\m([ts])\.parameters,', 'longhaul.redacted(\1.parameters) AS parameters,');
        ASSERT position('longhaul.redacted' IN shown) > 0;
        EXECUTE format('CREATE OR REPLACE VIEW %s AS %s', view_name, shown);
    END LOOP;
END
$$;

-- The database has no key, so what comes from SQL would be stored in plain text, unless
-- it was sealed before: a schedule's.
CREATE FUNCTION longhaul.refuse_secrets(known longhaul.task_type, parameters jsonb) RETURNS void
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

-- A line more in each of the functions that store tasks.
DO $$
DECLARE
    stored record;
    body   text;
BEGIN
    FOR stored IN
        SELECT p.oid, p.proname FROM pg_proc p
         WHERE p.pronamespace = 'longhaul'::regnamespace AND p.proname IN ('enqueue', 'enqueue_after', 'enqueue_batch')
    LOOP
        body := regexp_replace(
            pg_get_functiondef(stored.oid),
            CASE stored.proname WHEN 'enqueue' THEN '(\n *)IF enqueue\.parameters IS NULL ' ELSE '(\n *)IF ' || stored.proname || '\.if_failed IS NULL ' END,
            '\1PERFORM longhaul.refuse_secrets(known, '
                || CASE stored.proname WHEN 'enqueue_batch' THEN 'NULL' ELSE stored.proname || '.parameters' END || ');\&');
        ASSERT position('longhaul.refuse_secrets' IN body) > 0;
        EXECUTE body;
    END LOOP;
END
$$;

-- Refuses a name that is none of a task type. The complaint begins with `said_by`.
CREATE OR REPLACE FUNCTION longhaul.refuse_type(name text, said_by text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% is not a task type; the known ones are %',
        said_by || coalesce(quote_literal(left(refuse_type.name, 100)), 'NULL'),
        coalesce((SELECT string_agg(y.name, ', ' ORDER BY y.name) FROM longhaul.task_type y), 'none')
        USING ERRCODE = 'undefined_object',
              HINT = 'Types are made known by API and worker processes when they start.';
END
$$;

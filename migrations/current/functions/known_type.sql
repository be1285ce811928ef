-- A type by its name, for the functions below.
CREATE OR REPLACE FUNCTION longhaul.known_type(name text) RETURNS longhaul.task_type
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known longhaul.task_type;
BEGIN
    SELECT * INTO known FROM longhaul.task_type y WHERE y.name = known_type.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not a task type; the known ones are %',
            coalesce(quote_literal(left(known_type.name, 100)), 'NULL'),
            coalesce((SELECT string_agg(y.name, ', ' ORDER BY y.name) FROM longhaul.task_type y), 'none')
            USING ERRCODE = 'undefined_object',
                  HINT = 'Types are made known by API and worker processes when they start.';
    END IF;
    RETURN known;
END
$$;

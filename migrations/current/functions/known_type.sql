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
        PERFORM longhaul.refuse_type(known_type.name, '');
    END IF;
    RETURN known;
END
$$;

-- What tags a task may have. The same numbers stand in crates/model/src/limits.rs.
CREATE OR REPLACE FUNCTION longhaul.check_tags(tags text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF cardinality(tags) > 16 OR coalesce(array_ndims(tags), 1) > 1 THEN
        RAISE EXCEPTION 'a task has at most 16 tags'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM unnest(tags) AS t(tag) WHERE t.tag IS NULL OR octet_length(t.tag) NOT BETWEEN 1 AND 100) THEN
        RAISE EXCEPTION 'a tag has 1 to 100 characters, counted as bytes of UTF-8'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF (SELECT count(DISTINCT t.tag) FROM unnest(tags) AS t(tag)) < cardinality(tags) THEN
        RAISE EXCEPTION 'a task has each tag once'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.check_tags(text[]) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.check_tags(text[]) IS
    'Refuses tags that a task can''t have.';

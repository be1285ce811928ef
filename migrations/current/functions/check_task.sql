-- The texts of a task, by bytes. NULL stands for what is not given.
CREATE OR REPLACE FUNCTION longhaul.check_task(queue text, key text, unique_key text, created_by text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF octet_length(queue) NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'a queue has a name of 1 to 100 characters, counted as bytes of UTF-8'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(key) > 1000 THEN
        RAISE EXCEPTION 'a key has at most 1000 bytes; take a digest of a longer one'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(unique_key) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'a unique_key has 1 to 500 bytes; take a digest of a longer one'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(created_by) > 500 THEN
        RAISE EXCEPTION 'created_by has at most 500 bytes'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

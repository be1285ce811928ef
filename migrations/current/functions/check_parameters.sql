-- Parameters that a worker can read back: an object of at most 16 MiB, nested at most 100
-- levels deep (readers of JSON stop at 128), with numbers that a double can hold. The texts
-- of most parameters are too short for either, so the paths are looked at only if not. The
-- same numbers stand in crates/model/src/limits.rs; tests/tests/poison.rs compares the two.
--
-- Workers read numbers beyond 64 bits as doubles: 18446744073709551616 came to a handler as
-- 18446744073709552000, and nobody was told. What a double holds as it is written, such as
-- 1e20, passes; what it would round is refused. The API does the same by
-- crates/model/src/number.rs.
CREATE OR REPLACE FUNCTION longhaul.check_parameters(parameters jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    written CONSTANT text := parameters::text;
    number  text;
BEGIN
    -- Most are like this. One expression: each takes a microsecond or two in a new transaction.
    IF octet_length(written) <= 100 AND jsonb_typeof(parameters) = 'object' AND written !~ '[0-9]{19}' THEN
        RETURN;
    END IF;
    IF parameters IS NULL OR jsonb_typeof(parameters) <> 'object' THEN
        RAISE EXCEPTION 'parameters must be a JSON object such as {"ProjectId": "…"}'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(written) > 16777216 THEN
        RAISE EXCEPTION 'parameters have more than 16777216 bytes of JSON'
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    IF length(written) - length(translate(written, '[{', '')) > 100
       AND jsonb_path_exists(parameters, 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")') THEN
        RAISE EXCEPTION 'parameters are nested more than 100 levels deep'
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    IF length(written) > 308
       AND jsonb_path_exists(parameters, 'strict $.** ? (@.type() == "number" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))') THEN
        RAISE EXCEPTION 'parameters have a number beyond 1.7976931348623157e308'
            USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    IF written ~ '[0-9]{19}' THEN
        FOR number IN
            SELECT n.one #>> '{}'
              FROM jsonb_path_query(parameters, 'strict $.** ? (@.type() == "number" && (@ > 18446744073709551615 || @ < -9223372036854775808))') AS n(one)
        LOOP
            IF number::float8::text::numeric <> number::numeric THEN
                RAISE EXCEPTION 'parameters have the number %, which would be rounded; send it as a text', left(number, 40)
                    USING ERRCODE = 'numeric_value_out_of_range';
            END IF;
        END LOOP;
    END IF;
END
$$;

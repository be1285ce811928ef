-- A number of things: "1 task", "1,234 tasks".
CREATE OR REPLACE FUNCTION longhaul.number_of(things bigint, thing text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN to_char(things, 'FM999,999,999,990') || ' ' || thing || CASE WHEN things = 1 THEN '' ELSE 's' END;

-- A time for programs: UTC, whole seconds, in the years that every reader of times knows.
CREATE OR REPLACE FUNCTION longhaul.whole_seconds(at timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN to_char(least(greatest(at, '0001-01-01 00:00:00+00'), '9999-12-31 23:59:59+00') AT TIME ZONE 'UTC',
               'YYYY-MM-DD"T"HH24:MI:SS"Z"');

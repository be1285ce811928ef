-- A time for people: UTC, whole seconds.
CREATE OR REPLACE FUNCTION longhaul.utc_text(at timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT translate(longhaul.whole_seconds(at), 'TZ', ' ') || ' UTC' $$;

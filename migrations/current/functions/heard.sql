-- When a worker was heard last: its last beat, or the beginning of the last year if that was
-- earlier, or now if it is yet to come, as a clock that was set back or a hand leaves it.
CREATE OR REPLACE FUNCTION longhaul.heard(beat timestamptz, moment timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT greatest(least(beat, moment), moment - interval '1 year') $$;

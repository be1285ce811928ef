-- For how long nothing was heard since a beat while someone looked. What was counted before a
-- gap is forgiven up to half of the gap's length: after an outage each worker has all of its
-- time to beat, while many short gaps do not put off for ever what is to be noticed.
CREATE OR REPLACE FUNCTION longhaul.silence(beat timestamptz, moment timestamptz, gaps tstzmultirange) RETURNS interval
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT moment - heard - total - greatest(interval '0', least(total / 2, last_end - heard - total))
      FROM (SELECT longhaul.heard(beat, moment) AS heard) AS last
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(upper(gap) - lower(gap)), interval '0') AS total, max(upper(gap)) AS last_end
             FROM unnest(gaps * tstzmultirange(tstzrange(heard, moment))) AS gap) AS unheard
$$;

-- The key under which a task takes turns in a gated queue: an index entry holds less than
-- 2,704 bytes, and keys that were stored before had no limit.
CREATE OR REPLACE FUNCTION longhaul.turn_key(key text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN octet_length(key) <= 200 THEN key ELSE left(key, 40) || ':' || md5(key) END;

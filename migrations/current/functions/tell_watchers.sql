-- Tells the watchers which of these tasks have changed: at the commit, and as
-- few notifications as possible, for each takes a lock that all of the server's
-- notifying commits share. A payload has 7999 bytes at most (PostgreSQL manual,
-- NOTIFY): 240 ids without hyphens, and commas.
CREATE OR REPLACE FUNCTION longhaul.tell_watchers(ids uuid[]) RETURNS void LANGUAGE plpgsql STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('longhaul_progress', string_agg(replace(told.id::text, '-', ''), ','))
       FROM (SELECT w.id, (row_number() OVER () - 1) / 240 AS part
               FROM (SELECT DISTINCT w.id FROM unnest(ids) AS i(id) JOIN longhaul.watched w ON w.id = i.id) AS w) AS told
      GROUP BY told.part;
END
$$;
COMMENT ON FUNCTION longhaul.tell_watchers(uuid[]) IS
    'Wakes the API processes that stream these tasks. Cheap when nobody does.';

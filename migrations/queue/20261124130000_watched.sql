-- The tasks that someone watches, so that only their changes are told. While
-- nobody watches anything the table is empty, and the end of a task costs
-- nothing more than finding that out once a batch.

-- Unlogged: it needs no WAL, and after a crash, when it is empty, API processes
-- have to connect anew anyway and enter their tasks again.
CREATE UNLOGGED TABLE longhaul.watched (
    id      uuid NOT NULL,
    -- The API process that watches.
    watcher uuid NOT NULL,
    -- A process that vanished leaves its rows until then: they cost a needless
    -- notification at most.
    until   timestamptz NOT NULL,
    PRIMARY KEY (id, watcher)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Tells the watchers which of these tasks have changed: at the commit, and as
-- few notifications as possible, for each takes a lock that all of the server's
-- notifying commits share. A payload has 7999 bytes at most (PostgreSQL manual,
-- NOTIFY): 240 ids without hyphens, and commas.
CREATE FUNCTION longhaul.tell_watchers(ids uuid[]) RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    PERFORM pg_notify('longhaul_progress', string_agg(replace(told.id::text, '-', ''), ','))
       FROM (SELECT w.id, (row_number() OVER () - 1) / 240 AS part
               FROM (SELECT DISTINCT w.id FROM unnest(ids) AS i(id) JOIN longhaul.watched w ON w.id = i.id) AS w) AS told
      GROUP BY told.part;
END
$$;

COMMENT ON FUNCTION longhaul.tell_watchers IS 'Wakes the API processes that stream these tasks. Cheap when nobody does.';

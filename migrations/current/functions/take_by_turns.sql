-- A step of the gatekeeper (keep_gate.sql). Each takes a bounded number of rows, and passes over
-- those that another transaction has locked: nobody waits for the gatekeeper for longer than one
-- step, and the gatekeeper waits for nobody. In PL/pgSQL, which keeps its plans. `but`: tasks that
-- are set aside, since the database refuses to move them (longhaul.try_moves).
--
-- Takes tasks that wait in `held`: the first of each key, then the second of each, and so on,
-- from the key after last_key on, and none beyond what each key may have.
CREATE OR REPLACE FUNCTION longhaul.take_by_turns(queue_name text, but uuid[], room integer, max_per_key integer, last_key text,
    paused_types text[], OUT ids uuid[], OUT priorities smallint[], OUT keys text[])
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH RECURSIVE
    -- The keys that wait, from the one after the last turn on, and round again: at most as many
    -- as there is room for. One index probe each.
    after_last AS (
        (SELECT h.key, 1 AS number FROM longhaul.held h
          WHERE h.queue = queue_name AND h.key > last_key ORDER BY h.key LIMIT 1)
        UNION ALL
        SELECT n.key, a.number + 1 FROM after_last a CROSS JOIN LATERAL (
            SELECT h.key FROM longhaul.held h
             WHERE h.queue = queue_name AND h.key > a.key ORDER BY h.key LIMIT 1) n
         WHERE a.number < room
    ), up_to_last AS (
        (SELECT h.key, 1 AS number FROM longhaul.held h
          WHERE h.queue = queue_name AND h.key <= last_key ORDER BY h.key LIMIT 1)
        UNION ALL
        SELECT n.key, a.number + 1 FROM up_to_last a CROSS JOIN LATERAL (
            SELECT h.key FROM longhaul.held h
             WHERE h.queue = queue_name AND h.key > a.key AND h.key <= last_key
             ORDER BY h.key LIMIT 1) n
         WHERE a.number < room
    ), waiting AS MATERIALIZED (
        SELECT laps.key, row_number() OVER (ORDER BY lap, number) AS turn, count(*) OVER () AS keys
          FROM (SELECT 1 AS lap, number, key FROM after_last UNION ALL SELECT 2, number, key FROM up_to_last) AS laps
    ), free AS (
        -- Not much more of each key than its share, whatever waits: the next call has the rest.
        SELECT w.key, w.turn,
               least(room, 1 + 2 * room / w.keys,
                     coalesce(max_per_key - (SELECT count(*) FROM longhaul.admitted a
                                              WHERE a.queue = queue_name AND a.key = w.key), room)) AS places
          FROM waiting w
    ), candidate AS MATERIALIZED (
        SELECT c.*, free.turn
          FROM free CROSS JOIN LATERAL (
               SELECT first.*, row_number() OVER (ORDER BY first.priority, first.id) AS round
                 FROM (SELECT h.ctid AS place, h.key, h.priority, h.id
                         FROM longhaul.held h
                        WHERE h.queue = queue_name AND h.key = free.key AND h.type <> ALL (paused_types)
                          AND h.id <> ALL (but)
                        ORDER BY h.priority, h.id
                        LIMIT greatest(free.places, 0)
                          FOR UPDATE SKIP LOCKED) AS first) c
    ), chosen AS MATERIALIZED (
        SELECT * FROM candidate c ORDER BY c.round, c.turn LIMIT room
    ), gone AS (
        DELETE FROM longhaul.held WHERE ctid = ANY (ARRAY(SELECT c.place FROM chosen c))
    )
    SELECT array_agg(c.id ORDER BY c.round, c.turn), array_agg(c.priority ORDER BY c.round, c.turn),
           array_agg(c.key ORDER BY c.round, c.turn)
      INTO ids, priorities, keys
      FROM chosen c;
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.take_by_turns(text,uuid[],integer,integer,text,text[]) FROM PUBLIC;

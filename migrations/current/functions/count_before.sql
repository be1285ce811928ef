-- How many tasks of a queue workers take before the one that stands in `ready` with this
-- priority (10 to 19 once it was admitted) and id; 10,001 stands for more than 10,000. What
-- has waited for 60 s times its priority goes first, as by default of
-- longhaul_worker::Settings::ageing (Floors::probes in crates/model/src/store/claim.rs).
CREATE OR REPLACE FUNCTION longhaul.count_before(queue_name text, priority integer, id uuid) RETURNS integer
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    admitted CONSTANT integer := priority / 10 * 10;
    own CONSTANT integer := priority % 10;
    now_ms CONSTANT bigint := extract(epoch FROM clock_timestamp()) * 1000;
    -- The least ids that are not overdue, by priority.
    cuts CONSTANT uuid[] := ARRAY(
        SELECT (lpad(to_hex(now_ms - 60000 * p), 12, '0') || repeat('0', 20))::uuid FROM generate_series(1, 9) AS p ORDER BY p);
    overdue CONSTANT boolean := own > 0 AND count_before.id < cuts[own];
BEGIN
    RETURN (
        SELECT count(*)
          FROM (SELECT
                  FROM (SELECT (admitted + p)::smallint AS priority,
                               CASE WHEN p = own THEN count_before.id
                                    WHEN p < own AND NOT overdue THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'
                                    WHEN p > 0 AND (p < own OR NOT overdue) THEN cuts[p] END AS below
                          FROM generate_series(0, 9) AS p) AS band
                 CROSS JOIN LATERAL (
                       SELECT FROM longhaul.ready r
                        WHERE r.queue = queue_name AND r.priority = band.priority AND r.id < band.below
                        LIMIT 10001) AS one
                 LIMIT 10001) AS before);
END $$;

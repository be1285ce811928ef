-- Acts upon ends that are noted in `ended` and upon parents with something to do, a
-- bounded number of each. Returns how many; call it again until there are none. One
-- transaction at a time does so.
CREATE OR REPLACE FUNCTION longhaul.follow() RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    followed integer;
BEGIN
    IF NOT EXISTS (SELECT FROM longhaul.ended) AND cardinality(longhaul.parents_to_follow()) = 0 THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.follow', 0));
    followed := longhaul.follow_ended(longhaul.ends_to_follow());
    -- A statement of its own, which sees the counts.
    followed := followed + longhaul.follow_parents(longhaul.parents_to_follow());
    RETURN followed;
END $$;
COMMENT ON FUNCTION longhaul.follow() IS
    'Acts upon the ends of tasks that others wait for; workers call it.';

-- Notes ends that nobody has noted, and counts children anew that were not counted:
-- of tasks that a worker of a release ended which knows nothing of all this. Returns
-- how many.
CREATE OR REPLACE FUNCTION longhaul.note_missed_ends() RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM longhaul.blocked) AND NOT EXISTS (SELECT FROM longhaul.family f WHERE f.waiting) THEN
        RETURN 0;
    END IF;
    RETURN longhaul.note_ends(longhaul.ends_to_note());
END $$;

-- Nobody waits in a line to gather the same statistics: while another session does, or
-- vacuums, or changes a table, this leaves the table out.
CREATE OR REPLACE FUNCTION records.analyze_entities() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    ANALYZE (SKIP_LOCKED) records.project, records.entity, records.relationship;
END
$$;

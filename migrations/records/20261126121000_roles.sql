-- What least privilege needs here (docs/database-roles.md).

-- A search index is a table that a worker makes, maintains and drops. Another worker
-- may have another login, so it belongs to the role that all workers have, if there is
-- that role and the caller has it.
CREATE FUNCTION search.hand_over(document regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    workers CONSTANT regrole := to_regrole('longhaul_worker');
BEGIN
    IF workers IS NULL OR NOT pg_has_role(current_user, workers, 'MEMBER')
       OR NOT has_schema_privilege(workers, 'search', 'CREATE') THEN
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %s OWNER TO longhaul_worker', document);
    IF to_regrole('longhaul_api') IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON TABLE %s TO longhaul_api', document);
    END IF;
END
$$;

-- After much has been stored: a worker may not ANALYZE tables that are not its own.
CREATE FUNCTION records.analyze_entities() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    ANALYZE records.project, records.entity, records.relationship;
END
$$;
REVOKE EXECUTE ON FUNCTION records.analyze_entities FROM PUBLIC;

-- A search index is made, tended and dropped by functions with the owner's rights. No
-- login but the owner's creates anything, so no process selects from what another one
-- made: a view or a function of a worker's making would run with the API's rights.

SET LOCAL lock_timeout = '5s';

-- The table of a build, and its index. Whoever may begin builds may fill it, and whoever
-- may read which indexes there are may read it.
CREATE FUNCTION search.make_document(index_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    document CONSTANT text := 'document_' || index_id;
    rights text;
    grantee text;
BEGIN
    IF NOT EXISTS (SELECT FROM search.build b WHERE b.index_id = make_document.index_id) THEN
        RAISE EXCEPTION 'there is no build %', index_id USING ERRCODE = 'no_data_found';
    END IF;
    -- No vacuum while it is filled: it would merge the pending list too.
    EXECUTE format('CREATE TABLE search.%I (entity_id uuid NOT NULL, tsv tsvector NOT NULL) WITH (autovacuum_enabled = off)', document);
    EXECUTE format('CREATE INDEX %I ON search.%I USING gin (tsv) WITH (fastupdate = on, gin_pending_list_limit = 16384)',
                   document || '_tsv', document);
    FOR rights, grantee IN
        SELECT CASE a.privilege_type WHEN 'INSERT' THEN 'SELECT, INSERT' ELSE 'SELECT' END,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
          FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE (c.oid, a.privilege_type) IN (('search.build'::regclass, 'INSERT'), ('search.index'::regclass, 'SELECT'))
           AND a.grantee <> c.relowner AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE format('GRANT %s ON search.%I TO %s', rights, document, grantee);
    END LOOP;
END
$$;

-- Merges what is pending and gathers statistics; with rewrite, fills the index anew, densely.
CREATE FUNCTION search.tend_document(index_id bigint, rewrite boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    document CONSTANT text := 'document_' || index_id;
BEGIN
    IF rewrite THEN
        EXECUTE format('REINDEX INDEX search.%I', document || '_tsv');
    ELSE
        PERFORM gin_clean_pending_list(format('search.%I', document || '_tsv')::regclass);
    END IF;
    EXECUTE format('ANALYZE search.%I', document);
END
$$;

-- From now on it is vacuumed as any table.
CREATE FUNCTION search.use_document(index_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('ALTER TABLE search.%I RESET (autovacuum_enabled)', 'document_' || index_id);
END
$$;

-- Nothing that is in use.
CREATE FUNCTION search.drop_document(index_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM search.index i WHERE i.index_id = drop_document.index_id) THEN
        RAISE EXCEPTION 'the index % is in use', index_id USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS search.%I', 'document_' || index_id);
END
$$;

REVOKE EXECUTE ON FUNCTION search.make_document(bigint), search.tend_document(bigint, boolean),
    search.use_document(bigint), search.drop_document(bigint) FROM PUBLIC;

-- Without the roles, whoever may begin builds may also go on to make them.
DO $$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
          FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE c.oid = 'search.build'::regclass AND a.privilege_type = 'INSERT' AND a.grantee <> c.relowner
           AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION search.make_document(bigint), search.tend_document(bigint, boolean),
                            search.use_document(bigint), search.drop_document(bigint) TO %s', grantee);
    END LOOP;
END
$$;

-- How the words of an index were read: searches ask each index as it was made. An index
-- without a row here was made by a worker of an earlier release, which knows nothing of this
-- table, with PostgreSQL's text search (1).
CREATE TABLE search.analyzer (
    index_id bigint PRIMARY KEY,
    analyzer smallint NOT NULL
);

-- Without the roles, whoever may begin builds may say how, and whoever may search may read it.
DO $$
DECLARE
    rights text;
    grantee text;
BEGIN
    FOR rights, grantee IN
        SELECT CASE a.privilege_type WHEN 'INSERT' THEN 'SELECT, INSERT, DELETE' ELSE 'SELECT' END,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
          FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE (c.oid, a.privilege_type) IN (('search.build'::regclass, 'INSERT'), ('search.index'::regclass, 'SELECT'))
           AND a.grantee <> c.relowner AND (a.grantee = 0 OR r.rolname IS NOT NULL)
    LOOP
        EXECUTE format('GRANT %s ON search.analyzer TO %s', rights, grantee);
    END LOOP;
END
$$;

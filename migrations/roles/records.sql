-- What each role may do in the schemas records and search; see queue.sql.

REVOKE ALL ON ALL TABLES IN SCHEMA records FROM longhaul_api, longhaul_worker, longhaul_reader, longhaul_tenant_reader;
REVOKE ALL ON search.analyzer, search.build, search.index FROM longhaul_api, longhaul_worker, longhaul_reader, longhaul_tenant_reader;
GRANT USAGE ON SCHEMA records, search TO longhaul_api, longhaul_worker;

GRANT SELECT ON ALL TABLES IN SCHEMA records TO longhaul_api, longhaul_worker;
GRANT SELECT ON search.analyzer, search.build, search.index TO longhaul_api, longhaul_worker;

-- What the API's own routes make, change and remove. Trackers and their credentials
-- are set there and nowhere else.
GRANT INSERT, DELETE ON records.agile_run, records.agile_run_step, records.automated_test_run,
    records.result_node, records.script_assignment, records.step_result, records.upload, records.external_system,
    records.external_system_link TO longhaul_api;
GRANT UPDATE ON records.external_system, records.external_system_link, records.entity TO longhaul_api;
GRANT DELETE ON records.entity, records.incident, records.incident_link TO longhaul_api;

-- What task types make, change and remove. Locking a row to refer to it takes the right
-- to update one of its columns.
GRANT INSERT, UPDATE, DELETE ON records.project, records.entity, records.relationship, records.incident,
    records.incident_link, records.bulk_target, records.automated_test_run, records.result_node TO longhaul_worker;
GRANT UPDATE (id) ON records.step_result, records.agile_run_step, records.script_assignment, records.agile_run,
    records.external_system_link TO longhaul_worker;
GRANT INSERT, UPDATE, DELETE ON search.build, search.index TO longhaul_worker;
GRANT INSERT, DELETE ON search.analyzer TO longhaul_worker;
-- A search index is a table that functions make: none but the owner creates anything.
REVOKE CREATE ON SCHEMA search FROM longhaul_worker;
GRANT EXECUTE ON FUNCTION search.make_document(bigint), search.tend_document(bigint, boolean),
    search.use_document(bigint), search.drop_document(bigint), records.analyze_entities() TO longhaul_worker;

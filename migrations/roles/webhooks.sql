-- What each role may do with webhooks, in every program that has them; see queue.sql.

REVOKE ALL ON records.webhook, records.webhook_delivery, records.webhook_attempt
    FROM longhaul_api, longhaul_worker, longhaul_reader, longhaul_tenant_reader;
GRANT USAGE ON SCHEMA records TO longhaul_api, longhaul_worker;
GRANT SELECT ON records.webhook, records.webhook_delivery, records.webhook_attempt TO longhaul_api, longhaul_worker;
GRANT INSERT, UPDATE, DELETE ON records.webhook TO longhaul_api;
GRANT EXECUTE ON FUNCTION records.send_webhook, records.replay_webhook TO longhaul_api;
-- What became of messages. The addresses and secrets of webhooks are the API's matter.
GRANT UPDATE (enabled, failing_since, disabled_because) ON records.webhook TO longhaul_worker;
GRANT UPDATE, DELETE ON records.webhook_delivery TO longhaul_worker;
GRANT INSERT ON records.webhook_attempt TO longhaul_worker;

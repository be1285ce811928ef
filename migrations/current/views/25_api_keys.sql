CREATE OR REPLACE VIEW longhaul.api_keys AS
SELECT k.prefix,
       k.name,
       CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
            WHEN k.expires_at <= now() THEN 'expired'
            ELSE 'valid' END AS state,
       k.permissions,
       k.projects,
       k.created_at,
       k.created_by,
       k.expires_at,
       k.last_used_at,
       k.revoked_at,
       k.revoked_by
  FROM longhaul.api_key k;

COMMENT ON VIEW longhaul.api_keys IS 'Every API key: whose it is, what it may do, until when, when it was used last. The secrets are not stored.';

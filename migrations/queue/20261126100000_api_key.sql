-- API keys. The secret itself is nowhere: a keyed hash of it is.

SET LOCAL lock_timeout = '5s';

CREATE TABLE longhaul.api_key (
    -- What the secret begins with; people know it by this.
    prefix       text COLLATE "C" PRIMARY KEY CHECK (prefix ~ '^lh_[0-9A-Za-z]{10}$'),
    -- Keys of one name are one caller, so that a key can be replaced.
    name         text COLLATE "C" NOT NULL CHECK (name ~ '^[0-9A-Za-z][0-9A-Za-z._@-]{0,99}$'),
    -- HMAC-SHA-256 of the whole secret.
    hash         bytea NOT NULL CHECK (octet_length(hash) = 32),
    -- Which of the servers' secrets it is keyed with; NULL: with none.
    hashed_with  text,
    permissions  text[] NOT NULL,
    -- NULL: the permissions hold in all projects and for what belongs to none.
    projects     uuid[] CHECK (cardinality(projects) > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text NOT NULL,
    expires_at   timestamptz,
    -- To the minute.
    last_used_at timestamptz,
    revoked_at   timestamptz,
    revoked_by   text
);

CREATE INDEX api_key_by_name ON longhaul.api_key (name);

CREATE VIEW longhaul.api_keys AS
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

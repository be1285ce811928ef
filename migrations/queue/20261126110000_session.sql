-- Sessions of people with a browser. The session's id is nowhere: a hash of it is.

SET LOCAL lock_timeout = '5s';

CREATE TABLE longhaul.session (
    -- SHA-256 of the 256 random bits in the cookie.
    id_hash     bytea PRIMARY KEY CHECK (octet_length(id_hash) = 32),
    -- Who it is, the same for ever, and what people call them.
    subject     text NOT NULL,
    name        text NOT NULL,
    -- The API key that was shown: what it may do, and how long, is looked up each time.
    key_prefix  text COLLATE "C" REFERENCES longhaul.api_key ON DELETE CASCADE,
    -- What someone who came without a key may do.
    permissions text[] NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- To the minute.
    used_at     timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
);

CREATE INDEX session_by_end ON longhaul.session (expires_at);
CREATE INDEX session_by_key ON longhaul.session (key_prefix) WHERE key_prefix IS NOT NULL;

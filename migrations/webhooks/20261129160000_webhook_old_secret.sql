-- The secret that a webhook's present one has replaced, sealed alike: messages are signed
-- with both until then.

SET LOCAL lock_timeout = '5s';

ALTER TABLE records.webhook ADD COLUMN old_secret text, ADD COLUMN old_secret_until timestamptz;

-- How many tasks may wait in a queue before the HTTP API refuses new ones. NULL: any number.
-- Only longhaul.change_queue sets it, and says what it may be.

SET LOCAL lock_timeout = '5s';

ALTER TABLE longhaul.queue ADD COLUMN max_waiting integer;

-- What a child did not do counts as not done: a child that was cancelled, or that failed
-- before it ran, counts in its parent's progress for what it has done, not as a whole.

SET LOCAL lock_timeout = '5s';

ALTER TABLE longhaul.family
    -- Of `elements`, those that ended children did not process …
    ADD COLUMN unprocessed bigint NOT NULL DEFAULT 0,
    -- … and how much of the children that ended is not done: one that never ran is 1.
    ADD COLUMN undone double precision NOT NULL DEFAULT 0;

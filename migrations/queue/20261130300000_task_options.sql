-- What a task may have of its own: a time limit for each attempt, and tags. Most tasks have
-- neither; a column that is NULL takes no room.

SET LOCAL lock_timeout = '5s';

ALTER TABLE longhaul.task ADD COLUMN timeout_seconds double precision, ADD COLUMN tags text[];

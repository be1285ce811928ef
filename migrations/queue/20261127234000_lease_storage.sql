-- Ids of tasks don't shrink: PostgreSQL tried to compress those of each claim, for
-- half a microsecond a task, and stored them as they were.
ALTER TABLE longhaul.lease ALTER COLUMN task_ids SET STORAGE EXTERNAL;

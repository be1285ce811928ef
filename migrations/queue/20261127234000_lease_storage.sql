-- Ids of tasks hardly shrink: compressing those of each claim took half a microsecond a
-- task and saved nine bytes of WAL (docs/performance.md).
ALTER TABLE longhaul.lease ALTER COLUMN task_ids SET STORAGE EXTERNAL;

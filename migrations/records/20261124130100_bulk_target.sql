-- What a bulkaction found by a search, so that it can be walked in batches: a
-- new index may replace the one that was searched before the walk is over. The
-- rows go with the end of the task.
CREATE TABLE records.bulk_target (
    task_id   uuid NOT NULL,
    entity_id uuid NOT NULL,
    PRIMARY KEY (task_id, entity_id)
);

-- What the tasks of a schedule may have of their own (20261130300000_task_options.sql).

SET LOCAL lock_timeout = '5s';

ALTER TABLE longhaul.schedule
    ADD COLUMN max_attempts smallint,
    ADD COLUMN unique_seconds double precision,
    ADD COLUMN timeout_seconds double precision,
    ADD COLUMN tags text[];

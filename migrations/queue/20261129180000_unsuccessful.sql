-- Which tasks failed or were cancelled, one row for each: so that the last failures, their
-- causes and their number are facts, however many tasks there are. `task` has no index on
-- what changes (adr/0001), and only ends that are no success write here, so a plain success
-- costs what it did.
--
-- Whoever ends a task as failed or cancelled writes its row in the same transaction
-- (`note_unsuccessful`, and the statement of workers in crates/model/src/store/finish.rs);
-- whoever runs it again or removes it deletes the row.
CREATE TABLE longhaul.unsuccessful (
    state       longhaul.task_state NOT NULL CHECK (state IN ('Failed', 'Cancelled')),
    task_id     uuid NOT NULL,
    type        text NOT NULL,
    queue       text NOT NULL,
    created_by  text,
    -- The `code` of its error, of a failure.
    code        text,
    accepted_at timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,
    PRIMARY KEY (state, task_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05,
        autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX unsuccessful_ended ON longhaul.unsuccessful (state, ended_at);

-- Tasks that a repair put back, kept for doctor and for whoever looks for the cause.
CREATE TABLE longhaul.repaired (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id     uuid NOT NULL,
    repaired_at timestamptz NOT NULL DEFAULT now(),
    -- What was wrong, in words.
    problem     text NOT NULL
);

CREATE INDEX repaired_at ON longhaul.repaired (repaired_at);

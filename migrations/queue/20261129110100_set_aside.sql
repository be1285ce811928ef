-- One row that the database refuses must not stop a maintenance service for all others
-- (docs/architecture.md, "Rows that can't be processed"). A service whose batch is refused
-- processes it by halves until the row is found, notes that row here, goes on with the
-- rest, and tries the row again later. The row itself stays where it is.
CREATE TABLE longhaul.set_aside (
    -- The service, and which part of its work if it has several, e.g. follower/ends.
    service text COLLATE "C" NOT NULL,
    -- What it could not process: a task's id, a queue's or schedule's name.
    id      text COLLATE "C" NOT NULL,
    -- What the database said last.
    error   text NOT NULL,
    since   timestamptz NOT NULL DEFAULT now(),
    -- How often it was tried.
    tries   integer NOT NULL DEFAULT 1,
    -- When it is tried again.
    next_at timestamptz NOT NULL,
    PRIMARY KEY (id, service)
);

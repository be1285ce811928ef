-- What the last hours were like, a row a minute: for the overview's charts. No index
-- on `task` could tell it without taking heap-only updates away (adr/0001).

-- What each worker ended in a minute. Workers count in memory and add to their row
-- every two seconds, so counting costs the end of a task nothing.
CREATE TABLE longhaul.pulse (
    at        timestamptz NOT NULL,
    worker_id integer NOT NULL,
    succeeded bigint NOT NULL DEFAULT 0,
    failed    bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    -- Attempts that failed and are tried again.
    retried   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (at, worker_id)
) WITH (fillfactor = 50);

-- How each queue stood at the end of a minute, and what was accepted in it; by the
-- leader of the service `pulse`.
CREATE TABLE longhaul.sample (
    at        timestamptz NOT NULL,
    queue     text NOT NULL,
    accepted  bigint NOT NULL,
    ready     bigint NOT NULL,
    held      bigint NOT NULL,
    scheduled bigint NOT NULL,
    running   bigint NOT NULL,
    -- How long the oldest task that could run had waited; NULL if none waited.
    oldest_s  double precision,
    PRIMARY KEY (at, queue)
);

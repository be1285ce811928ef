-- What only one process should do at a time. A row that expires by the
-- database's clock needs no session, so it works through a transaction pooler.

CREATE TABLE longhaul.leader (
    name      text COLLATE "C" PRIMARY KEY,
    worker_id integer NOT NULL,
    until     timestamptz NOT NULL,
    -- What the next leader goes on from.
    memo      jsonb
) WITH (fillfactor = 50);

-- When no worker looked at heartbeats: while the database was down or frozen, or out of reach
-- of all workers, it could hear none. Such a gap is not part of any worker's silence. Gaps
-- that end before the last beat of every worker at work are forgotten.
CREATE TABLE longhaul.observation (
    single    boolean PRIMARY KEY DEFAULT true CHECK (single),
    gaps      tstzmultirange NOT NULL,
    looked_at timestamptz NOT NULL
) WITH (fillfactor = 50);
INSERT INTO longhaul.observation (gaps, looked_at) VALUES ('{}', '-infinity');

-- Parts of workers that fail again and again, for doctor and metrics: a row from the third
-- failure in a row until the first success.
CREATE TABLE longhaul.trouble (
    worker_id integer NOT NULL,
    part      text NOT NULL,
    failures  integer NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    noted_at  timestamptz NOT NULL DEFAULT now(),
    error     text NOT NULL,
    PRIMARY KEY (worker_id, part)
) WITH (fillfactor = 50);

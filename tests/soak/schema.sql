-- What the soak's handlers write down. Rows of `effect` are written behind the fence, in the
-- transaction that saves the checkpoint; rows of `ended` are not.
CREATE SCHEMA soak;

CREATE TABLE soak.effect (
    n       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task    uuid NOT NULL,
    -- One run of the handler.
    run     uuid NOT NULL,
    attempt integer NOT NULL,
    kind    text NOT NULL,
    step    integer NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE soak.ended (
    n       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task    uuid NOT NULL,
    run     uuid NOT NULL,
    outcome text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT USAGE ON SCHEMA soak TO PUBLIC;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA soak TO PUBLIC;

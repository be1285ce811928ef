-- Gates without triggers (docs/adr/0004-gates.md). Everybody stores tasks into `ready`
-- alike. A task of a gated queue stands there with its priority, 0 to 9, until the
-- gatekeeper admits it: from then on it stands there with its priority + 10, which is where
-- a claim looks in a gated queue. Nothing that stores, claims, ends or cancels a task waits
-- for a gate or for a change of one.

SET LOCAL lock_timeout = '5s';

-- Admission, which updated other columns of `queue`, has a table of its own from here on, so
-- that it never waits for a transaction that has changed the queue's settings. The columns
-- tokens, refilled_at and last_key are not used any more; a later release drops them.
ALTER TABLE longhaul.queue
    -- Counts the changes of the settings …
    ADD COLUMN revision bigint NOT NULL DEFAULT 1,
    -- … and how often the queue became gated.
    ADD COLUMN gating bigint NOT NULL DEFAULT 1;

DROP TRIGGER gates_change ON longhaul.queue;

-- What the gatekeeper knows of a gated queue. Only longhaul.keep_gate writes it.
CREATE TABLE longhaul.gate (
    queue         text COLLATE "C" PRIMARY KEY,
    -- Of queue: which settings are in force, and since when.
    revision      bigint NOT NULL,
    gating        bigint NOT NULL,
    closed_at     timestamptz NOT NULL,
    -- When `admitted` was last compared with what runs. NULL: claims may be under way that
    -- began before the queue was gated, so nothing is admitted yet …
    counted_at    timestamptz,
    -- … and these transactions are the ones that may be making them.
    claims_before text[],
    -- Tasks that may begin now by the rate; NULL if there is no rate.
    tokens        double precision CHECK (tokens >= 0),
    refilled_at   timestamptz,
    -- Whose turn was last.
    last_key      text COLLATE "C" NOT NULL DEFAULT ''
) WITH (fillfactor = 50);

COMMENT ON COLUMN longhaul.ready.priority IS
    'The task''s, 0 to 9; plus 10 once the task was admitted to a gated queue. Claims of a gated queue look only from 10 on, claims of another only below.';

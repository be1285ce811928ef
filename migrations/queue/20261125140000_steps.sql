-- Steps within steps, and how long a task will still take: written with its
-- progress, in the same row. Nullable and without default, so that adding them
-- rewrites nothing.

ALTER TABLE longhaul.task
    -- The path of steps at work, from the outermost:
    -- [{"Name", "Weight", "Of", "Fraction", "TotalElements", "ProcessedElements"}].
    ADD COLUMN steps      jsonb,
    -- When it will end: the best guess, and an interval that holds nine times of
    -- ten. Times, so that a guess need not be written anew while nothing happens.
    ADD COLUMN ends_at    timestamptz,
    ADD COLUMN ends_from  timestamptz,
    ADD COLUMN ends_until timestamptz;

-- A view of its own beside longhaul.tasks, for what few tasks have.
CREATE VIEW longhaul.progress AS
SELECT v.public_id,
       v.id,
       v.type,
       v.state,
       v.progress,
       v.message,
       shown.steps,
       (SELECT string_agg(s.step ->> 'Name', ' > ' ORDER BY s.place)
          FROM jsonb_array_elements(shown.steps) WITH ORDINALITY AS s(step, place)) AS path,
       greatest(guess.at, '0') AS time_left,
       greatest(guess.low, '0') AS time_left_low,
       greatest(guess.high, '0') AS time_left_high
  FROM longhaul.tasks v
  JOIN longhaul.task t USING (id)
 -- What an attempt wrote counts while it runs, and steps also after a failure.
 CROSS JOIN LATERAL (
       SELECT CASE WHEN v.state = t.state AND t.state IN ('Running', 'Retrying', 'Failed', 'Cancelled') THEN t.steps END
              AS steps) AS shown
  LEFT JOIN LATERAL (
       SELECT t.ends_at - now() AS at, t.ends_from - now() AS low, t.ends_until - now() AS high
        -- Beyond that, the guess was wrong.
        WHERE v.state = 'Running' AND t.state = 'Running' AND t.ends_until > now()) AS guess ON true;

COMMENT ON VIEW longhaul.progress IS
    'Every task with the steps it is at, and how long it will still take: the best guess, and from what to what in nine of ten cases.';

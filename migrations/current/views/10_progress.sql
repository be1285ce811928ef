-- A view of its own beside longhaul.tasks, for what few tasks have.
CREATE OR REPLACE VIEW longhaul.progress AS
SELECT v.public_id,
       v.id,
       v.type,
       v.state,
       v.progress,
       v.message,
       shown.steps,
       -- Steps that are no list have no path; they must not cost the view of all others.
       (SELECT string_agg(s.step ->> 'Name', ' > ' ORDER BY s.place)
          FROM jsonb_array_elements(CASE jsonb_typeof(shown.steps) WHEN 'array' THEN shown.steps END) WITH ORDINALITY AS s(step, place)) AS path,
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

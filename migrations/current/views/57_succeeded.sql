-- How many tasks succeeded and are kept. The number is exact if the tasks were counted, and since
-- then every change of their number was written down. Workers of earlier releases do not write it
-- down (`counts_successes`). Their last statement may end up to 55 s after them (`statement_timeout`
-- in crates/worker/src/settings.rs). Rows of workers are kept for longer than a count is
-- relied on.
CREATE OR REPLACE VIEW longhaul.succeeded AS
SELECT s.tasks,
       s.counted_at,
       coalesce(s.counted_at BETWEEN clock_timestamp() - interval '7 days' AND clock_timestamp()
                AND NOT EXISTS (SELECT FROM longhaul.worker w
                                 WHERE NOT w.counts_successes
                                   AND coalesce(w.stopped_at, w.lost_at, 'infinity') > s.counted_at - interval '2 minutes'),
                false) AS exact
  FROM (SELECT least(greatest(coalesce(sum(tasks), 0), 0), 9007199254740992)::bigint AS tasks, max(counted_at) AS counted_at
          FROM longhaul.successes) s;

COMMENT ON VIEW longhaul.succeeded IS
    'How many tasks succeeded and are kept, whether that is exact, and when they were last counted one by one.';

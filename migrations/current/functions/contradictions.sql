-- Everything in which the queue's tables contradict each other: where tasks are
-- (`longhaul.misplaced`), what is written of failures (`longhaul.unsuccessful_amiss`), how many tasks
-- succeeded (`longhaul.succeeded`, of no one task), and what stays behind of tasks that are over. Reads all tasks: for doctor and tests. What a follower has
-- yet to do, as `ended` says, is no contradiction, unless none does it.
CREATE OR REPLACE FUNCTION longhaul.contradictions() RETURNS TABLE (id uuid, problem text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.id, m.problem FROM longhaul.misplaced() m
     UNION ALL
    SELECT a.id, a.problem
      FROM longhaul.unsuccessful_amiss('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff') a
     UNION ALL
    SELECT '00000000-0000-0000-0000-000000000000', format('%s tasks succeeded, and %s are counted', t.tasks, s.tasks)
      FROM longhaul.succeeded s CROSS JOIN (SELECT count(*) AS tasks FROM longhaul.task WHERE state = 'Succeeded') t
     WHERE s.exact AND s.tasks <> t.tasks
     UNION ALL
    -- A lease lists its tasks until all of them are over, and goes with the last one.
    SELECT l.task_ids[1], format('lease %s of worker %s holds it, and all tasks of the lease are over or gone', l.number, l.worker_id)
      FROM longhaul.lease l
     WHERE l.task_ids <> '{}'
       AND NOT EXISTS (SELECT FROM unnest(l.task_ids) AS u(id) JOIN longhaul.task t ON t.id = u.id
                        WHERE t.state NOT IN ('Succeeded', 'Failed', 'Cancelled'))
     UNION ALL
    SELECT s.id, format('the table %s has it, and the task is over or gone', s.place)
      FROM (SELECT c.task_id AS id, 'cancel_request' AS place FROM longhaul.cancel_request c
            UNION ALL SELECT k.task_id, 'task_key' FROM longhaul.task_key k WHERE k.expires_at IS NULL
            UNION ALL SELECT f.parent_id, 'family (waiting)' FROM longhaul.family f WHERE f.waiting) s
     WHERE NOT EXISTS (SELECT FROM longhaul.task t
                        WHERE t.id = s.id AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled'))
       AND NOT EXISTS (SELECT FROM longhaul.ended e WHERE e.id = s.id)
     UNION ALL
    -- Notes of tasks that are gone mean nothing, and go with the next look of a follower.
    SELECT e.id, 'the table ended has it, and the task has been over for a minute'
      FROM longhaul.ended e JOIN longhaul.task t ON t.id = e.id
     WHERE t.finished_at < now() - interval '1 minute'
       AND NOT EXISTS (SELECT FROM longhaul.set_aside_tasks a WHERE a.service IN ('follower/ends', 'follower/dependents'))
     UNION ALL
    SELECT b.id, format('the table blocked has it as waiting for %s tasks, and it waits for %s', b.open, d.open)
      FROM longhaul.blocked b
     CROSS JOIN LATERAL (SELECT count(*) AS open FROM longhaul.dependency d WHERE d.task_id = b.id AND d.outcome IS NULL) d
     WHERE b.open <> d.open
     UNION ALL
    SELECT d.task_id, format('it waits for %s, which is over or gone', d.on_id)
      FROM longhaul.dependency d JOIN longhaul.blocked b ON b.id = d.task_id
     WHERE d.outcome IS NULL
       AND NOT EXISTS (SELECT FROM longhaul.task t
                        WHERE t.id = d.on_id AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled'))
       AND NOT EXISTS (SELECT FROM longhaul.ended e WHERE e.id = d.on_id)
     UNION ALL
    -- Children are counted when the follower has seen their ends; some may be removed before
    -- their parent is over.
    SELECT f.parent_id,
           format('its family counts %s children, %s of them over; there are %s, %s of them over',
                  f.children, f.succeeded::bigint + f.failed + f.cancelled, c.children, c.over + c.gone)
      FROM longhaul.family f
     CROSS JOIN LATERAL (
           SELECT count(*) AS children,
                  count(*) FILTER (WHERE t.id IS NULL) AS gone,
                  count(*) FILTER (WHERE t.finished_at IS NOT NULL AND e.id IS NULL) AS over
             FROM longhaul.child c
             LEFT JOIN longhaul.task t ON t.id = c.id
             LEFT JOIN longhaul.ended e ON e.id = c.id AND NOT e.edges_only
            WHERE c.parent_id = f.parent_id) c
     WHERE f.children <> c.children
        OR f.waiting AND f.succeeded::bigint + f.failed + f.cancelled NOT BETWEEN c.over AND c.over + c.gone
$$;
COMMENT ON FUNCTION longhaul.contradictions() IS
    'Everything in which the queue''s tables contradict each other. Empty if all is well.';

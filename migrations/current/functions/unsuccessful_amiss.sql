-- Where `unsuccessful` and the tasks with ids after `after`, up to `last`, contradict each
-- other: none, unless a worker of an earlier release ended or removed tasks.
CREATE OR REPLACE FUNCTION longhaul.unsuccessful_amiss(after uuid, last uuid) RETURNS TABLE (id uuid, problem text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.id, format('it is %s, and the table unsuccessful does not have it', t.state)
      FROM longhaul.task t
     WHERE t.id > unsuccessful_amiss.after AND t.id <= unsuccessful_amiss.last AND t.state IN ('Failed', 'Cancelled')
       AND NOT EXISTS (SELECT FROM longhaul.unsuccessful u WHERE u.state = t.state AND u.task_id = t.id)
     UNION ALL
    SELECT u.task_id, format('the table unsuccessful has it as %s, and it is not', u.state)
      FROM longhaul.unsuccessful u
     WHERE u.state IN ('Failed', 'Cancelled')
       AND u.task_id > unsuccessful_amiss.after AND u.task_id <= unsuccessful_amiss.last
       AND NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = u.task_id AND t.state = u.state)
$$;

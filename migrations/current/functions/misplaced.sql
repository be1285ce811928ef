-- Open tasks that are in no place, in several, or in one that does not fit their state, and
-- rows that say where a task is although it is over or gone. Reads all tasks: for doctor and
-- tests.
CREATE OR REPLACE FUNCTION longhaul.misplaced() RETURNS TABLE (id uuid, problem text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id,
           CASE WHEN cardinality(p.places) = 0 THEN format('it is open (%s) and in no place', p.state)
                WHEN cardinality(p.places) > 1 THEN format('it is in several places: %s', array_to_string(p.places, ', '))
                ELSE format('it is %s in the place %s', p.state, p.places[1]) END
      FROM longhaul.places(ARRAY(SELECT t.id FROM longhaul.task t
                                  WHERE t.state NOT IN ('Succeeded', 'Failed', 'Cancelled'))) p
     WHERE cardinality(p.places) <> 1
        OR NOT CASE p.places[1]
               WHEN 'scheduled' THEN p.state IN ('Scheduled', 'Retrying')
               WHEN 'lease' THEN p.state IN ('Queued', 'Retrying', 'Running')
               WHEN 'children' THEN p.state = 'Running'
               ELSE p.state IN ('Queued', 'Retrying') END
     UNION ALL
    SELECT s.id, format('the table %s has it, and the task is over or gone', s.place)
      FROM (SELECT coalesce(r.task_id, r.id) AS id, 'ready' AS place FROM longhaul.ready r
            UNION ALL SELECT r.id, 'scheduled' FROM longhaul.scheduled r
            UNION ALL SELECT r.id, 'held' FROM longhaul.held r
            UNION ALL SELECT r.id, 'blocked' FROM longhaul.blocked r
            UNION ALL SELECT r.id, 'admitted' FROM longhaul.admitted r) s
     WHERE NOT EXISTS (SELECT FROM longhaul.task t
                        WHERE t.id = s.id AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled'))
$$;
COMMENT ON FUNCTION longhaul.misplaced() IS
    'Open tasks in no place or in several, and rows of tasks that are over. Empty if all is well.';

-- Writes down what a task does to others (longhaul.note_change), in the name of whoever it is by.
CREATE OR REPLACE FUNCTION longhaul.note_through(through uuid, deed text, ids uuid[]) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT longhaul.note_change(t.created_by, note_through.deed, note_through.ids,
                                coalesce(y.id_prefix, lower(t.type) || '-') || t.id)
      FROM longhaul.task t LEFT JOIN longhaul.task_type y ON y.name = t.type
     WHERE t.id = note_through.through
$$;
REVOKE EXECUTE ON FUNCTION longhaul.note_through(uuid,text,uuid[]) FROM PUBLIC;

-- Writes down what someone does to tasks, a row for each; through which task, if not itself.
-- Nothing without a name: where callers need not say who they are.
CREATE OR REPLACE FUNCTION longhaul.note_change(who text, deed text, ids uuid[], through text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF note_change.who IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO longhaul.audit (who, deed, target, details)
    SELECT note_change.who, note_change.deed, coalesce(y.id_prefix, lower(t.type) || '-') || t.id,
           jsonb_strip_nulls(jsonb_build_object('Type', t.type, 'Through', note_change.through))
      FROM unnest(note_change.ids) AS i(id)
      JOIN longhaul.task t ON t.id = ANY (ARRAY[i.id])
      LEFT JOIN longhaul.task_type y ON y.name = t.type;
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.note_change(text,text,uuid[],text) FROM PUBLIC;

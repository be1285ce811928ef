-- Shows the progress of all parents that wait. Returns how many there are.
CREATE OR REPLACE FUNCTION longhaul.sum_children() RETURNS integer
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT longhaul.show_children(longhaul.parents_to_show()) $$;

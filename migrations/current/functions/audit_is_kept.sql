-- The trigger of `audit`: rows are added and, when they are old, removed; nothing changes them.
CREATE OR REPLACE FUNCTION longhaul.audit_is_kept() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '1 day' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'longhaul.audit is not changed, and nothing younger than a day is removed'
        USING ERRCODE = 'insufficient_privilege';
END
$$;

-- For workers of the release before.
CREATE OR REPLACE FUNCTION longhaul.admit(queue_name text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT k.admitted FROM longhaul.keep_gate(queue_name, true) k);
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.admit(text) FROM PUBLIC;

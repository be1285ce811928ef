-- longhaul.change_queue by arguments. What is left out stays as it is: the defaults stand for that, and are
-- no values that a setting can have. API processes of the release before give every argument.
CREATE OR REPLACE FUNCTION longhaul.set_queue(name text, paused boolean DEFAULT NULL, max_running integer DEFAULT '-2147483648',
    max_per_key integer DEFAULT '-2147483648', fair boolean DEFAULT NULL, rate_count integer DEFAULT '-2147483648',
    rate_seconds double precision DEFAULT '-Infinity') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM longhaul.change_queue(set_queue.name, coalesce(
        (SELECT jsonb_object_agg(m.name, m.value)
           FROM (VALUES ('Paused', to_jsonb(set_queue.paused), set_queue.paused IS NOT NULL),
                        ('MaxRunning', to_jsonb(set_queue.max_running), set_queue.max_running IS DISTINCT FROM -2147483648),
                        ('MaxPerKey', to_jsonb(set_queue.max_per_key), set_queue.max_per_key IS DISTINCT FROM -2147483648),
                        ('Fair', to_jsonb(set_queue.fair), set_queue.fair IS NOT NULL),
                        ('RateCount', to_jsonb(set_queue.rate_count), set_queue.rate_count IS DISTINCT FROM -2147483648),
                        ('RateSeconds', to_jsonb(set_queue.rate_seconds), set_queue.rate_seconds IS DISTINCT FROM '-Infinity'))
                AS m(name, value, is_given)
          WHERE m.is_given), '{}'));
END $$;
REVOKE EXECUTE ON FUNCTION longhaul.set_queue(text,boolean,integer,integer,boolean,integer,double precision) FROM PUBLIC;
COMMENT ON FUNCTION longhaul.set_queue(text,boolean,integer,integer,boolean,integer,double precision) IS
    'Pauses or resumes a queue and changes its limits; what is left out stays as it is, NULL takes a limit away.';

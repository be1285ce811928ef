-- Who a task of this type is by if the caller stores it and says that it is by `said`.
CREATE OR REPLACE FUNCTION longhaul.started_by(type text, said text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    outsider CONSTANT text := longhaul.outsider();
BEGIN
    IF outsider IS NULL THEN
        RETURN coalesce(said, longhaul.sql_maker(longhaul.caller()));
    END IF;
    IF NOT longhaul.may_start(started_by.type) THEN
        RAISE EXCEPTION '% may not start tasks of the type %', longhaul.caller(), coalesce(left(started_by.type, 100), 'NULL')
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('The owner grants types: SELECT longhaul.grant_types(%L, %L);', longhaul.caller(), left(started_by.type, 100));
    END IF;
    RETURN outsider || coalesce(':' || said, '');
END
$$;
REVOKE EXECUTE ON FUNCTION longhaul.started_by(text,text) FROM PUBLIC;

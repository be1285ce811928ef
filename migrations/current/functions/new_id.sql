-- A UUIDv7 (RFC 9562) with the database's time: 48 bits of milliseconds, 12 bits
-- of the millisecond's fraction (its section 6.2, method 3), 62 random bits. So
-- ids grow from one microsecond to the next. PostgreSQL 18 has uuidv7(); this
-- works from 14 on.
CREATE OR REPLACE FUNCTION longhaul.new_id() RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
-- In SQL it would be planned anew at each call, which takes ten times as long as all the rest.
AS $$
DECLARE
    us CONSTANT bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
BEGIN
    RETURN (lpad(to_hex(us / 1000), 12, '0') || to_hex((x'7000'::int + (us % 1000) * 4096 / 1000)::int)
            || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid;
END
$$;

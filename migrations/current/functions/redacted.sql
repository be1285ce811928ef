-- Stored parameters for people. Within a JSON text a quotation mark is written \", so
-- no text can look like a sealed secret.
CREATE OR REPLACE FUNCTION longhaul.redacted(parameters jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN parameters::text LIKE '%{"$sealed": %'
            THEN regexp_replace(parameters::text, '\{"\$sealed": "[^"]*"\}', '"[redacted]"', 'g')::jsonb
            ELSE parameters END;

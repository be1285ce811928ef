-- Takes a key for a task unless another task has it: NULL if it is taken now, else the
-- other task's id. Waits for a transaction that is taking the key. A key whose task was
-- removed keeps others out until its time is over. Keys come in the form in which they are
-- stored: `u:`, a type's name of 100 bytes, `:`, 500 bytes.
CREATE OR REPLACE FUNCTION longhaul.take_key(key text, task_id uuid, seconds double precision) RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    holder uuid;
BEGIN
    IF octet_length(take_key.key) > 603 THEN
        RAISE EXCEPTION 'a unique key has at most 603 bytes as it is stored; take a digest of a longer one'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOOP
        INSERT INTO longhaul.task_key AS known (key, task_id, fingerprint, expires_at)
        VALUES (take_key.key, take_key.task_id, sha256(''), now() + take_key.seconds * interval '1 second')
        ON CONFLICT ON CONSTRAINT task_key_pkey DO UPDATE
           SET task_id = excluded.task_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
         WHERE known.expires_at <= now()
        RETURNING NULL::uuid INTO holder;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT k.task_id INTO holder FROM longhaul.task_key k WHERE k.key = take_key.key;
        IF FOUND THEN
            RETURN holder;
        END IF;
        -- It was given back between the two statements.
    END LOOP;
END
$$;

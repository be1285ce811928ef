-- Who did what, when, and from where. Rows are added and, when they are old, removed;
-- nothing changes them.

SET LOCAL lock_timeout = '5s';

CREATE TABLE longhaul.audit (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    -- As task.created_by has it.
    who     text COLLATE "C" NOT NULL,
    address inet,
    -- The id of the operation, e.g. cancelTask.
    deed    text COLLATE "C" NOT NULL,
    -- What it was done to: a task's public id, a queue, a path.
    target  text COLLATE "C",
    details jsonb
);

CREATE INDEX audit_by_target ON longhaul.audit (target, number);
CREATE INDEX audit_by_who ON longhaul.audit (who, number);

CREATE FUNCTION longhaul.audit_is_kept() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '1 day' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'longhaul.audit is not changed, and nothing younger than a day is removed'
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON longhaul.audit
    FOR EACH ROW EXECUTE FUNCTION longhaul.audit_is_kept();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON longhaul.audit
    FOR EACH STATEMENT EXECUTE FUNCTION longhaul.audit_is_kept();

COMMENT ON TABLE longhaul.audit IS 'Who did what, when, and from where; it is only added to.';

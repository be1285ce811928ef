-- Webhooks: whoever is told of the ends of tasks by HTTP (docs/webhooks.md).

CREATE TABLE records.webhook (
    id               uuid PRIMARY KEY,
    url              text NOT NULL CHECK (url ~ '^https?://'),
    description      text NOT NULL DEFAULT '',
    -- NULL: all.
    types            text[],
    queues           text[],
    states           text[] NOT NULL CHECK (states <@ ARRAY['Succeeded', 'Failed', 'Cancelled', 'Retrying']),
    enabled          boolean NOT NULL DEFAULT true,
    -- Sealed with the host's key and bound to this row's id.
    secret           text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    -- Since when nothing has been delivered any more.
    failing_since    timestamptz,
    disabled_because text
);

-- A message, from the moment when it was due: noted in the transaction that changed
-- the task.
CREATE TABLE records.webhook_delivery (
    id           uuid PRIMARY KEY,
    webhook_id   uuid NOT NULL REFERENCES records.webhook ON DELETE CASCADE,
    event        text NOT NULL,
    task_id      uuid,
    body         jsonb NOT NULL,
    state        text NOT NULL DEFAULT 'Pending' CHECK (state IN ('Pending', 'Delivered', 'Failed', 'Skipped')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX webhook_delivery_by_webhook ON records.webhook_delivery (webhook_id, id);

-- Each try to deliver one.
CREATE TABLE records.webhook_attempt (
    delivery_id uuid NOT NULL REFERENCES records.webhook_delivery ON DELETE CASCADE,
    number      bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL DEFAULT now(),
    -- What the receiver answered, if it did …
    status      integer,
    -- … in this time.
    latency_ms  bigint NOT NULL,
    error       text,
    PRIMARY KEY (delivery_id, number)
);

-- Stores the task that delivers.
CREATE FUNCTION records.deliver_webhook(delivery uuid, webhook uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- No process has made the type known: it is delivered by a replay.
    IF NOT EXISTS (SELECT FROM longhaul.task_type y WHERE y.name = 'DeliverWebhook') THEN
        RETURN NULL;
    END IF;
    RETURN longhaul.enqueue('DeliverWebhook', jsonb_build_object('DeliveryId', delivery), key => webhook::text);
END
$$;

-- A message to one webhook, and the task that delivers it.
CREATE FUNCTION records.send_webhook(webhook uuid, event text, task uuid, data jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    delivery CONSTANT uuid := longhaul.new_id();
BEGIN
    INSERT INTO records.webhook_delivery (id, webhook_id, event, task_id, body)
    VALUES (delivery, webhook, event, task,
            jsonb_build_object('type', event,
                               'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                               'data', data));
    PERFORM records.deliver_webhook(delivery, webhook);
    RETURN delivery;
END
$$;

-- Sends a message again, under the same id.
CREATE FUNCTION records.replay_webhook(delivery uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    webhook uuid;
BEGIN
    UPDATE records.webhook_delivery d SET state = 'Pending', delivered_at = NULL WHERE d.id = delivery
    RETURNING d.webhook_id INTO webhook;
    IF webhook IS NULL THEN
        RETURN false;
    END IF;
    PERFORM records.deliver_webhook(delivery, webhook);
    RETURN true;
END
$$;

-- A task's state has changed: in the same transaction.
CREATE FUNCTION records.note_webhooks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM records.send_webhook(w.id, 'task.' || lower(NEW.state::text), NEW.id, jsonb_build_object(
            'Id', coalesce((SELECT y.id_prefix FROM longhaul.task_type y WHERE y.name = NEW.type), lower(NEW.type) || '-') || NEW.id,
            'Type', NEW.type, 'Queue', NEW.queue, 'State', NEW.state, 'Attempt', NEW.attempt,
            'StartedAt', to_char(NEW.accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'FinishedAt', to_char(NEW.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'Message', NEW.message, 'Error', NEW.error))
       FROM records.webhook w
      WHERE w.enabled AND NEW.state::text = ANY (w.states)
        AND (w.types IS NULL OR NEW.type = ANY (w.types))
        AND (w.queues IS NULL OR NEW.queue = ANY (w.queues));
    RETURN NULL;
END
$$;

-- Tasks are looked at only while there is a webhook: without one there is no trigger on
-- them, and their ends cost nothing more.
CREATE FUNCTION records.watch_for_webhooks() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    there  boolean;
    wanted boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul.webhook', 0));
    wanted := EXISTS (SELECT FROM records.webhook w WHERE w.enabled);
    there := EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = 'longhaul.task'::regclass AND t.tgname = 'webhook');
    IF wanted = there THEN
        RETURN NULL;
    END IF;
    -- Everything that changes a task would wait behind this.
    PERFORM set_config('lock_timeout', '3s', true);
    IF wanted THEN
        CREATE TRIGGER webhook AFTER UPDATE OF state ON longhaul.task FOR EACH ROW
            WHEN (NEW.state IS DISTINCT FROM OLD.state AND NEW.type <> 'DeliverWebhook'
                  AND NEW.state IN ('Succeeded', 'Failed', 'Cancelled', 'Retrying'))
            EXECUTE FUNCTION records.note_webhooks();
    ELSE
        BEGIN
            DROP TRIGGER webhook ON longhaul.task;
        EXCEPTION WHEN lock_not_available THEN
            -- It finds no webhook, and goes with the next change of one.
            NULL;
        END;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER watch AFTER INSERT OR UPDATE OF enabled OR DELETE ON records.webhook
    FOR EACH STATEMENT EXECUTE FUNCTION records.watch_for_webhooks();

REVOKE EXECUTE ON FUNCTION records.deliver_webhook, records.send_webhook, records.replay_webhook, records.note_webhooks,
    records.watch_for_webhooks FROM PUBLIC;

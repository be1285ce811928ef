-- The task that delivers a message is stored in the transaction that changed another task,
-- whoever's that is: also that of a login which may cancel a task and start nothing.
CREATE OR REPLACE FUNCTION records.deliver_webhook(delivery uuid, webhook uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- No process has made the type known: it is delivered by a replay.
    IF NOT EXISTS (SELECT FROM longhaul.task_type y WHERE y.name = 'DeliverWebhook') THEN
        RETURN NULL;
    END IF;
    RETURN longhaul.store_task('DeliverWebhook', jsonb_build_object('DeliveryId', delivery), NULL, NULL, NULL, NULL,
                               longhaul.sql_maker(longhaul.caller()), webhook::text, NULL, NULL);
END
$$;

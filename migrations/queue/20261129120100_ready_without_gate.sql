-- See 20261129120000_gates.sql.

SET LOCAL lock_timeout = '5s';

DROP TRIGGER gate ON longhaul.ready;

-- What was admitted before stands with the task's own priority under an id of that moment.
-- It waits to be admitted anew, under its own id, by which cancelling and reading find it. A
-- row that is locked is being claimed or cancelled.
UPDATE longhaul.ready
   SET id = task_id, task_id = NULL
 WHERE ctid = ANY (ARRAY(SELECT r.ctid FROM longhaul.ready r
                          WHERE r.task_id IS NOT NULL AND r.priority < 10 FOR UPDATE SKIP LOCKED));

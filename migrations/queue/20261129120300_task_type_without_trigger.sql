-- See 20261129120000_gates.sql.

SET LOCAL lock_timeout = '5s';

DROP TRIGGER gates_change ON longhaul.task_type;

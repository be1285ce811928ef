-- Reads the table, but keeps nobody waiting (ALTER TABLE … VALIDATE CONSTRAINT). In a
-- transaction of its own: the one before locks the table.
ALTER TABLE longhaul.task VALIDATE CONSTRAINT task_is_consistent;

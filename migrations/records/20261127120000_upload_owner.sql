-- Whose a file is: nobody else may have a task read it. Of files from before, and where
-- callers need not say who they are, that is not known.

SET LOCAL lock_timeout = '5s';

ALTER TABLE records.upload ADD COLUMN created_by text COLLATE "C";

-- How often in a row the database has interrupted the attempt under way, which it does not
-- spend (docs/retries.md). NULL, which takes no room in the row, for none.
ALTER TABLE longhaul.task ADD COLUMN interruptions smallint;

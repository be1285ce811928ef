-- Logs of tasks: lines that handlers write for people.

-- How many lines the task's log has had, stored or dropped: the next attempt goes
-- on counting from there, and what is missing in task_log was dropped.
ALTER TABLE longhaul.task ADD COLUMN logged bigint;

-- No foreign key: it would cost a check for every line, and a look for lines for
-- every flushed task. Lines are only written together with an update of their
-- task's row, and retention removes them in the statement that removes the task.
CREATE TABLE longhaul.task_log (
    task_id   uuid NOT NULL,
    -- From 1, over all attempts.
    number    bigint NOT NULL,
    logged_at timestamptz NOT NULL,
    attempt   smallint NOT NULL,
    -- 1 information, 2 warning, 3 error.
    level     smallint NOT NULL CHECK (level BETWEEN 1 AND 3),
    line      text NOT NULL,
    PRIMARY KEY (task_id, number)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE VIEW longhaul.task_logs AS
SELECT coalesce(y.id_prefix, lower(t.type) || '-') || t.id AS public_id,
       l.task_id,
       l.number,
       l.logged_at,
       l.attempt,
       CASE l.level WHEN 1 THEN 'Info' WHEN 2 THEN 'Warn' WHEN 3 THEN 'Error' END AS level,
       l.line
  FROM longhaul.task_log l
  JOIN longhaul.task t ON t.id = l.task_id
  LEFT JOIN longhaul.task_type y ON y.name = t.type;

COMMENT ON VIEW longhaul.task_logs IS 'What tasks have logged. Numbers that are missing are of lines that were dropped.';

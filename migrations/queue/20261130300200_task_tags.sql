-- Which tasks have which tags, newest last, so that those with a tag are found without
-- looking at others. Rows come with tagged tasks and go with them.

SET LOCAL lock_timeout = '5s';

CREATE TABLE longhaul.task_tag (
    tag     text NOT NULL,
    task_id uuid NOT NULL,
    PRIMARY KEY (tag, task_id)
);

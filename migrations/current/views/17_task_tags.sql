CREATE OR REPLACE VIEW longhaul.task_tags AS
SELECT t.public_id, g.tag, g.task_id FROM longhaul.task_tag g JOIN longhaul.tasks t ON t.id = g.task_id;

COMMENT ON VIEW longhaul.task_tags IS 'Tasks by their tags: WHERE tag = … is quick, however many tasks there are.';

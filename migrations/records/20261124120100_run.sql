-- What tickets are linked to: steps of script assignments and agile runs, and
-- the result nodes of automated test runs (docs/records.md).

CREATE TABLE records.script_assignment (
    id         uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES records.project ON DELETE CASCADE,
    name       text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX script_assignment_by_project ON records.script_assignment (project_id, id);

CREATE TABLE records.step_result (
    id                   uuid PRIMARY KEY,
    script_assignment_id uuid NOT NULL REFERENCES records.script_assignment ON DELETE CASCADE,
    position             integer NOT NULL CHECK (position >= 0),
    name                 text NOT NULL CHECK (name <> ''),
    status               text NOT NULL CHECK (status IN ('NotRun', 'Passed', 'Failed', 'Blocked', 'Skipped')),
    UNIQUE (script_assignment_id, position)
);

CREATE TABLE records.agile_run (
    id         uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES records.project ON DELETE CASCADE,
    name       text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agile_run_by_project ON records.agile_run (project_id, id);

CREATE TABLE records.agile_run_step (
    id           uuid PRIMARY KEY,
    agile_run_id uuid NOT NULL REFERENCES records.agile_run ON DELETE CASCADE,
    position     integer NOT NULL CHECK (position >= 0),
    name         text NOT NULL CHECK (name <> ''),
    status       text NOT NULL CHECK (status IN ('NotRun', 'Passed', 'Failed', 'Blocked', 'Skipped')),
    UNIQUE (agile_run_id, position)
);

CREATE TABLE records.automated_test_run (
    id         uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES records.project ON DELETE CASCADE,
    name       text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX automated_test_run_by_project ON records.automated_test_run (project_id, id);

CREATE TABLE records.result_node (
    id                    uuid PRIMARY KEY,
    automated_test_run_id uuid NOT NULL REFERENCES records.automated_test_run ON DELETE CASCADE,
    -- Absent for the roots of the tree.
    parent_id             uuid REFERENCES records.result_node ON DELETE CASCADE,
    -- In the order of the file, over the whole run.
    position              integer NOT NULL CHECK (position >= 0),
    kind                  text NOT NULL CHECK (kind IN ('Suite', 'Case')),
    name                  text NOT NULL,
    class_name            text,
    -- Suites have none of their own.
    status                text CHECK (status IN ('Passed', 'Failed', 'Error', 'Skipped')),
    duration_seconds      double precision CHECK (duration_seconds >= 0),
    -- What the failure, error or skip says, cut.
    message               text,
    UNIQUE (automated_test_run_id, position),
    CHECK ((kind = 'Case') = (status IS NOT NULL))
);
CREATE INDEX result_node_by_parent ON records.result_node (parent_id) WHERE parent_id IS NOT NULL;

-- An incident on what it was found by: exactly one target.
CREATE TABLE records.incident_link (
    id                uuid PRIMARY KEY,
    incident_id       uuid NOT NULL REFERENCES records.incident ON DELETE CASCADE,
    step_result_id    uuid REFERENCES records.step_result ON DELETE CASCADE,
    agile_run_step_id uuid REFERENCES records.agile_run_step ON DELETE CASCADE,
    result_node_id    uuid REFERENCES records.result_node ON DELETE CASCADE,
    created_at        timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(step_result_id, agile_run_step_id, result_node_id) = 1),
    -- A ticket has one incident, so these say: unique per target and ticket.
    UNIQUE (step_result_id, incident_id),
    UNIQUE (agile_run_step_id, incident_id),
    UNIQUE (result_node_id, incident_id)
);
CREATE INDEX incident_link_by_incident ON records.incident_link (incident_id);

-- Files that tasks read, e.g. JUnit reports. Small by the API's body limit.
CREATE TABLE records.upload (
    id         uuid PRIMARY KEY,
    name       text NOT NULL CHECK (name <> ''),
    content    bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

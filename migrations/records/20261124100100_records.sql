-- The records that the shipped task types act on: projects, what is in them
-- (requirements, scripts, assignments, results, incidents …), and how those
-- relate.

CREATE SCHEMA IF NOT EXISTS records;

CREATE TABLE records.project (
    id         uuid PRIMARY KEY,
    name       text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE records.entity (
    id         uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES records.project ON DELETE CASCADE,
    -- One word, e.g. Requirement, Script, Assignment, Result, Incident.
    kind       text NOT NULL CHECK (kind ~ '^[A-Za-z][A-Za-z0-9]{0,39}$'),
    -- The short name that people use, e.g. TST-123; need not be unique.
    key        text NOT NULL,
    name       text NOT NULL,
    fields     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(fields) = 'object')
);

-- Reindex walks a project in this order.
CREATE UNIQUE INDEX entity_by_project ON records.entity (project_id, id);

CREATE TABLE records.relationship (
    source_id uuid NOT NULL REFERENCES records.entity ON DELETE CASCADE,
    target_id uuid NOT NULL REFERENCES records.entity ON DELETE CASCADE,
    -- One word, e.g. Covers, DependsOn, ResultOf.
    kind      text NOT NULL CHECK (kind ~ '^[A-Za-z][A-Za-z0-9]{0,39}$'),
    PRIMARY KEY (source_id, target_id, kind)
);

CREATE INDEX relationship_by_target ON records.relationship (target_id, source_id);

-- The search index. Every build of a project's index is a table of its own,
-- search.document_<index_id> (entity_id, tsv) with a GIN index, filled beside
-- the one in use; `search.index` points at the one that searches use. Swapping
-- is one row update, and the old table is dropped: no dead rows, no vacuum, no
-- lock that searches wait for (docs/adr/0003).

CREATE SCHEMA IF NOT EXISTS search;

-- A build under way: who fills which table.
CREATE TABLE search.build (
    index_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id uuid NOT NULL,
    task_id    uuid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
);

-- The index in use.
CREATE TABLE search.index (
    project_id uuid PRIMARY KEY REFERENCES records.project ON DELETE CASCADE,
    index_id   bigint NOT NULL UNIQUE,
    documents  bigint NOT NULL,
    built_at   timestamptz NOT NULL DEFAULT now()
);

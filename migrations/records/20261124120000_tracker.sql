-- External defect trackers, a project's connections to them, and the incidents
-- that are synchronized with their tickets (docs/records.md).

CREATE TABLE records.external_system (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    kind        text NOT NULL CHECK (kind IN ('JiraCloud', 'JiraDataCenter', 'Redmine', 'GitLab')),
    base_url    text NOT NULL CHECK (base_url ~ '^https?://'),
    -- Sealed with the host's key and bound to this row's id (AES-256-GCM): the
    -- nonce, then the ciphertext with its tag. Never shown.
    credentials bytea,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- A project's connection to a tracker.
CREATE TABLE records.external_system_link (
    id                 uuid PRIMARY KEY,
    project_id         uuid NOT NULL REFERENCES records.project ON DELETE CASCADE,
    external_system_id uuid NOT NULL REFERENCES records.external_system ON DELETE CASCADE,
    -- The tracker's own project, if the connection is limited to one.
    remote_project     text CHECK (remote_project <> ''),
    created_at         timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX external_system_link_once
    ON records.external_system_link (project_id, external_system_id, coalesce(remote_project, ''));
CREATE INDEX external_system_link_by_system ON records.external_system_link (external_system_id);

-- An entity of kind Incident, synchronized with a ticket. What the ticket says
-- stands in the entity's key, name and fields.Ticket; all other fields are ours.
CREATE TABLE records.incident (
    id                      uuid PRIMARY KEY REFERENCES records.entity ON DELETE CASCADE,
    external_system_link_id uuid NOT NULL REFERENCES records.external_system_link ON DELETE CASCADE,
    -- The tracker's internal id of the ticket, which outlives renames and moves.
    ticket_id               text NOT NULL CHECK (ticket_id <> ''),
    created_at              timestamptz NOT NULL DEFAULT now(),
    synchronized_at         timestamptz NOT NULL DEFAULT now(),
    -- When the tracker was first found to know the ticket no more.
    vanished_at             timestamptz,
    -- Two tasks that link the same ticket at once: this settles it.
    UNIQUE (external_system_link_id, ticket_id)
);

CREATE TABLE contact (
    address text PRIMARY KEY,
    name text NOT NULL,
    added_on date NOT NULL DEFAULT current_date
);

CREATE TABLE approval (
    article bigint PRIMARY KEY,
    approved boolean NOT NULL
);

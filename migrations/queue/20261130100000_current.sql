-- Which of today's functions and views (migrations/current) a database has: a row for each file
-- as it was applied last.
CREATE TABLE longhaul.current (
    file       text COLLATE "C" PRIMARY KEY,
    digest     text NOT NULL,
    -- Of the program that applied it. One of an earlier edition leaves it as it is.
    edition    integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- The event log. Events are packed: a chunk holds the contiguous events of one run
-- that were committed together, as a JSON array.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE workflow (
    key    INTEGER PRIMARY KEY,
    id     TEXT    NOT NULL UNIQUE,
    head   INTEGER NOT NULL,
    oldest INTEGER NOT NULL
);

CREATE TABLE run (
    key          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    workflow_key INTEGER NOT NULL REFERENCES workflow (key),
    state        TEXT    NOT NULL,
    first_seq    INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    total_nodes  INTEGER NOT NULL,
    parent       TEXT,
    UNIQUE (workflow_key, first_seq)
);
CREATE INDEX run_active ON run (key) WHERE ended_at IS NULL;
CREATE INDEX run_started ON run (started_at, id);

CREATE TABLE chunk (
    commit_no    INTEGER PRIMARY KEY,
    workflow_key INTEGER NOT NULL REFERENCES workflow (key),
    run_key      INTEGER NOT NULL REFERENCES run (key),
    last_seq     INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    UNIQUE (workflow_key, last_seq)
);

CREATE TABLE command (
    workflow_key INTEGER NOT NULL REFERENCES workflow (key),
    id           TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    run_key      INTEGER NOT NULL REFERENCES run (key),
    seq          INTEGER NOT NULL,
    PRIMARY KEY (workflow_key, id)
) WITHOUT ROWID;
CREATE INDEX command_run ON command (run_key);

"""The SQL statements of the SQLite event log."""

META = "SELECT value FROM meta WHERE name = ?"
LAST_COMMIT = "SELECT max(commit_no) FROM chunk"
HEAD = "SELECT head, oldest FROM workflow WHERE id = ?"

INSERT_WORKFLOW = "INSERT INTO workflow (id, head, oldest) VALUES (?, 0, 1) ON CONFLICT (id) DO NOTHING"
WORKFLOW_KEY = "SELECT key FROM workflow WHERE id = ?"
MOVE_HEAD = "UPDATE workflow SET head = ? WHERE key = ? AND head = ?"

INSERT_RUN = "INSERT INTO run (id, workflow_key, state, first_seq, started_at, total_nodes) VALUES (?, ?, ?, ?, ?, ?)"
RUN_KEY = "SELECT key FROM run WHERE id = ?"
UPDATE_RUN = "UPDATE run SET state = ?, ended_at = ? WHERE key = ?"

INSERT_CHUNK = "INSERT INTO chunk (commit_no, workflow_key, run_key, last_seq, body) VALUES (?, ?, ?, ?, ?)"
INSERT_COMMAND = (
    "INSERT INTO command (workflow_key, id, name, run_key, seq) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (workflow_key, id) DO NOTHING"
)
FIND_COMMAND = (
    "SELECT command.name, run.id, command.seq FROM command "
    "JOIN workflow ON workflow.key = command.workflow_key JOIN run ON run.key = command.run_key "
    "WHERE workflow.id = ? AND command.id = ?"
)

READ = (
    "SELECT workflow.id, run.id, chunk.commit_no, chunk.body FROM workflow "
    "JOIN chunk ON chunk.workflow_key = workflow.key JOIN run ON run.key = chunk.run_key "
    "WHERE workflow.id = ? AND chunk.last_seq > ? ORDER BY chunk.last_seq LIMIT ?"
)
READ_ALL = (
    "SELECT workflow.id, run.id, chunk.commit_no, chunk.body FROM chunk "
    "JOIN workflow ON workflow.key = chunk.workflow_key JOIN run ON run.key = chunk.run_key "
    "WHERE chunk.commit_no > ? ORDER BY chunk.commit_no LIMIT ?"
)

_RUN_COLUMNS = (
    "workflow.id, run.id, run.state, run.first_seq, "
    "coalesce((SELECT min(later.first_seq) - 1 FROM run AS later "
    "WHERE later.workflow_key = run.workflow_key AND later.first_seq > run.first_seq), workflow.head), "
    "run.started_at, run.ended_at, run.total_nodes"
)
RUNS = (
    f"SELECT {_RUN_COLUMNS} FROM workflow JOIN run ON run.workflow_key = workflow.key "
    "WHERE workflow.id = ? AND run.first_seq < ? ORDER BY run.first_seq DESC LIMIT ?"
)
WORKFLOWS = (
    f"SELECT {_RUN_COLUMNS} FROM run JOIN workflow ON workflow.key = run.workflow_key "
    "WHERE run.first_seq = (SELECT max(newest.first_seq) FROM run AS newest "
    "WHERE newest.workflow_key = run.workflow_key) "
    "AND (run.started_at, run.id) < (?1, ?2) AND substr(workflow.id, 1, length(?3)) = ?3 "
    "AND (?4 = 0 OR run.state IN (SELECT value FROM json_each(?5))) "
    "ORDER BY run.started_at DESC, run.id DESC LIMIT ?6"
)
ACTIVE_RUNS = (
    f"SELECT {_RUN_COLUMNS} FROM run JOIN workflow ON workflow.key = run.workflow_key "
    "WHERE run.ended_at IS NULL ORDER BY run.key"
)

EXPIRED = (
    "SELECT key FROM (SELECT key, ended_at, row_number() OVER "
    "(PARTITION BY workflow_key ORDER BY first_seq DESC) AS age FROM run WHERE ended_at IS NOT NULL) "
    "WHERE ended_at < ? OR age > ? ORDER BY key"
)
OLDEST_ENDED = (
    "SELECT run.key FROM run WHERE run.ended_at IS NOT NULL AND NOT EXISTS "
    "(SELECT 1 FROM run AS earlier WHERE earlier.workflow_key = run.workflow_key "
    "AND earlier.first_seq < run.first_seq) ORDER BY run.ended_at LIMIT 16"
)
DELETE_RUN = (
    "INSERT INTO meta (name, value) "
    "SELECT 'compacted_commit', max(commit_no) FROM chunk "
    "WHERE workflow_key = (SELECT workflow_key FROM run WHERE key = :run) AND run_key = :run HAVING count(*) > 0 "
    "ON CONFLICT (name) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))",
    "UPDATE workflow SET oldest = 1 + (SELECT max(last_seq) FROM chunk "
    "WHERE chunk.workflow_key = workflow.key AND chunk.run_key = :run) "
    "WHERE key = (SELECT workflow_key FROM run WHERE key = :run)",
    "DELETE FROM command WHERE workflow_key = (SELECT workflow_key FROM run WHERE key = :run) AND run_key = :run",
    "DELETE FROM chunk WHERE workflow_key = (SELECT workflow_key FROM run WHERE key = :run) AND run_key = :run",
    "DELETE FROM run WHERE key = :run",
)
"""Deletes the run `:run`, in this order, within one transaction."""

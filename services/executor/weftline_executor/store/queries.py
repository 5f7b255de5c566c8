"""The SQL statements of the SQLite event log."""

META = "SELECT value FROM meta WHERE name = ?"
KEEP_META = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
LAST_COMMIT = "SELECT max(commit_no) FROM chunk"
HEAD = "SELECT head, oldest FROM workflow WHERE id = ?"

NEWEST_WORKFLOW = "SELECT coalesce(max(key), 0) FROM workflow"
NEWEST_RUN = "SELECT coalesce(max(key), 0) FROM run"
WORKFLOW_KEYS = "SELECT json_group_object(id, key) FROM workflow WHERE id IN (SELECT value FROM json_each(?))"
RUN_KEYS = "SELECT json_group_object(id, key) FROM run WHERE id IN (SELECT value FROM json_each(?))"

# In half the time of the same for many, since SQLite keeps no table for the one row; its values in the same order.
MOVE_HEAD = "UPDATE workflow SET head = ?3 WHERE key = ?1 AND head = ?2"

# For many rows at once, which stand where `{values}` does.
INSERT_WORKFLOWS = (
    "INSERT INTO workflow (key, id, head, oldest) SELECT column1, column2, 0, 1 FROM (VALUES {values}) WHERE true"
)
MOVE_HEADS = (
    "UPDATE workflow SET head = moved.column3 FROM (VALUES {values}) AS moved "
    "WHERE workflow.key = moved.column1 AND workflow.head = moved.column2"
)
INSERT_RUNS = (
    "INSERT INTO run (key, id, workflow_key, state, first_seq, started_at, total_nodes, parent) VALUES {values}"
)
INSERT_CHUNKS = "INSERT INTO chunk (commit_no, workflow_key, run_key, last_seq, body) VALUES {values}"
UPDATE_RUNS = (
    "UPDATE run SET state = changed.column2, ended_at = changed.column3 FROM (VALUES {values}) AS changed "
    "WHERE run.key = changed.column1"
)
INSERT_COMMANDS = (
    "INSERT INTO command (workflow_key, id, name, run_key, seq) VALUES {values} "
    "ON CONFLICT (workflow_key, id) DO NOTHING"
)

RUN_ID = "SELECT id FROM run WHERE key = ?"
KNOWN_RUNS = "SELECT run.id FROM json_each(?) AS asked JOIN run ON run.id = asked.value"
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
    "run.started_at, run.ended_at, run.total_nodes, coalesce(run.parent, '')"
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
    "AND (?4 = 0 OR run.state IN (SELECT value FROM json_each(?5))) AND (?6 OR run.parent IS NULL) "
    "ORDER BY run.started_at DESC, run.id DESC LIMIT ?7"
)
ACTIVE_RUNS = (
    f"SELECT {_RUN_COLUMNS} FROM run JOIN workflow ON workflow.key = run.workflow_key "
    "WHERE run.ended_at IS NULL ORDER BY run.key"
)

CHANGES = (
    "CREATE INDEX command_run ON command (run_key)",
    "ALTER TABLE run ADD COLUMN parent TEXT",
)
"""What each format of the log has over the one before, from format 2 on."""

# A run counts as ended no earlier than those before it, so that the oldest of a workflow always go first.
_ENDED = (
    "SELECT key, max(ended_at) OVER (PARTITION BY workflow_key ORDER BY first_seq) AS ended, "
    "row_number() OVER (PARTITION BY workflow_key ORDER BY first_seq DESC) AS age FROM run WHERE ended_at IS NOT NULL"
)
EXPIRED = f"SELECT key FROM ({_ENDED}) WHERE ended < ? OR age > ? ORDER BY key"
OLDEST_ENDED = f"SELECT key FROM ({_ENDED}) ORDER BY ended, key LIMIT ?"

RUN_RANGE = (
    "SELECT run.key, workflow.key, run.first_seq, coalesce((SELECT min(later.first_seq) - 1 FROM run AS later "
    "WHERE later.workflow_key = run.workflow_key AND later.first_seq > run.first_seq), workflow.head), "
    "run.parent IS NOT NULL FROM run JOIN workflow ON workflow.key = run.workflow_key WHERE run.key = ?"
)
DELETE_RUN = (
    "INSERT INTO meta (name, value) SELECT 'compacted_commit', commit_no FROM chunk "
    "WHERE workflow_key = :workflow AND last_seq = :last "
    "ON CONFLICT (name) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))",
    "UPDATE workflow SET oldest = :last + 1 WHERE key = :workflow",
    "DELETE FROM command WHERE run_key = :run",
    "DELETE FROM chunk WHERE workflow_key = :workflow AND last_seq BETWEEN :first AND :last",
    "DELETE FROM run WHERE key = :run",
    "DELETE FROM workflow WHERE key = :workflow AND :body "
    "AND NOT EXISTS (SELECT 1 FROM run WHERE workflow_key = :workflow)",
)
"""Deletes a run, in this order, within one transaction; the parameters are those that RUN_RANGE gives."""

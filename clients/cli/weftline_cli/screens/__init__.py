"""What a watched run looks like: live on a terminal, line by line without one, or as NDJSON."""

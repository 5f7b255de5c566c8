"""How late the events of quiet runs come while a node of another run misbehaves."""

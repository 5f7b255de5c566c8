"""The messages of the WebSocket protocol: their names, their JSON, and how a client's are checked; pure."""

"""What it costs a server to send one event to many WebSocket clients, beside other servers."""

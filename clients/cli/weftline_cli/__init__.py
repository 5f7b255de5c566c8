"""Weftline's command line: a gRPC client for people, and the worked example of writing one."""

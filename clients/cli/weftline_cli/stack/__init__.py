"""Starts an executor and a bridge as child processes, waits until they are ready, and ends them."""

"""A watch by WebSocket: what the bridge casts of workflows, in the dialect `weftline.v1`."""

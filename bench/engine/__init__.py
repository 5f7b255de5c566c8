"""How many nodes a second the executor runs, beside other durable engines and a bare event loop."""

"""The nouns of a run: states, events, batches and records, with no behaviour beyond their own consistency."""

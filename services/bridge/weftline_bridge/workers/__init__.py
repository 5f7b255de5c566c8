"""What a supervisor and its workers have in common: what they say to each other, and the rules that need no process."""

"""How many events a second go through the bridge to one client."""

"""How well the executor knows when a run will end, and how close to the shortest time its schedule comes."""

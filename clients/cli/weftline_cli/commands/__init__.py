"""The sub-commands of `weftline`, by what they do."""

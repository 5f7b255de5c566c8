"""Measures what Weftline claims, each time beside other programs that do the same job on the same machine."""

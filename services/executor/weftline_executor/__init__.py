"""The Weftline executor: validates and runs workflow graphs, and streams what happens over gRPC."""

__version__ = "0.1.0"

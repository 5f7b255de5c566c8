"""The bridge: casts a Weftline executor's events to browsers as JSON over WebSocket."""

from importlib.metadata import version

__version__ = version("weftline")

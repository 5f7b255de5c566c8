"""Keeps what is known of every workflow that somebody watches, and casts it to the readers."""

from weftline_bridge.hub.audience import WHOLE, View
from weftline_bridge.hub.flushing import Flushable, Flusher
from weftline_bridge.hub.group import Reader
from weftline_bridge.hub.hub import Hub, HubOptions
from weftline_bridge.hub.tasks import TaskOwner

__all__ = ["WHOLE", "Flushable", "Flusher", "Hub", "HubOptions", "Reader", "TaskOwner", "View"]

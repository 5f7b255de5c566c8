"""One client's connection: what it sends is checked and carried out, what it is owed is written."""

from weftline_bridge.session.endpoint import Endpoint
from weftline_bridge.session.gatekeeper import Gatekeeper
from weftline_bridge.session.registry import Registry
from weftline_bridge.session.session import Session

__all__ = ["Endpoint", "Gatekeeper", "Registry", "Session"]

"""Node types: what authors declare, what the engine calls, and what comes built in."""

from weftline_executor.nodes.artifacts import ArtifactKeeper, NodeArtifacts
from weftline_executor.nodes.builtin.chat import ChatService
from weftline_executor.nodes.builtin.fence import HttpFence
from weftline_executor.nodes.context import Body, BodyEnd, Context, ContextSink
from weftline_executor.nodes.declare import Expression, PerItem, Verbatim
from weftline_executor.nodes.decorator import NodeFunction, node
from weftline_executor.nodes.environment import passed_on
from weftline_executor.nodes.errors import (
    BadDeclaration,
    ConfigInvalid,
    DuplicateNodeType,
    ExpressionFailed,
    NodeFailed,
    NodeTypeError,
    PluginFailed,
    SecretMissing,
    SecretUnreadable,
)
from weftline_executor.nodes.faults import ConfigFault, Reference
from weftline_executor.nodes.items import ItemExpression
from weftline_executor.nodes.node_type import Idempotency, NodeType
from weftline_executor.nodes.prepared import PreparedCall
from weftline_executor.nodes.registry import Registry
from weftline_executor.nodes.results import Branch, Skip, Wait
from weftline_executor.nodes.scope import Scope
from weftline_executor.nodes.scrub import SecretSession
from weftline_executor.nodes.secrets import Secrets

__all__ = [
    "ArtifactKeeper",
    "BadDeclaration",
    "Body",
    "BodyEnd",
    "Branch",
    "ChatService",
    "ConfigFault",
    "ConfigInvalid",
    "Context",
    "ContextSink",
    "DuplicateNodeType",
    "Expression",
    "ExpressionFailed",
    "HttpFence",
    "Idempotency",
    "ItemExpression",
    "NodeArtifacts",
    "NodeFailed",
    "NodeFunction",
    "NodeType",
    "NodeTypeError",
    "PerItem",
    "PluginFailed",
    "PreparedCall",
    "Reference",
    "Registry",
    "Scope",
    "SecretMissing",
    "SecretSession",
    "SecretUnreadable",
    "Secrets",
    "Skip",
    "Verbatim",
    "Wait",
    "node",
    "passed_on",
]

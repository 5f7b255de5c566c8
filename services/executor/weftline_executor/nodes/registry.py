"""The node types that an executor can run, by name."""

import difflib
import importlib
import importlib.metadata
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import ModuleType

from weftline_executor.nodes.builtin.chat import ChatService, llm_chat_at
from weftline_executor.nodes.builtin.command import command_with
from weftline_executor.nodes.builtin.fence import HttpFence
from weftline_executor.nodes.builtin.http import http_request_within
from weftline_executor.nodes.builtin.python_code import run_python
from weftline_executor.nodes.errors import DuplicateNodeType, PluginFailed
from weftline_executor.nodes.node_type import NodeType

ENTRY_POINT_GROUP = "weftline.nodes"
BUILTINS = "weftline_executor.nodes.builtin"
OFF_UNLESS_ENABLED = frozenset({"python", "command"})
"""Built-in types that let whoever starts a workflow run anything as the executor's user."""

ENABLE_SETTING = "WEFTLINE_EXECUTOR_ENABLE_NODES"


class Registry:
    """Node types by name, each with the plugin that it came from."""

    def __init__(self) -> None:
        self._types: dict[str, NodeType] = {}
        self._origins: dict[str, str] = {}

    @classmethod
    def with_builtins(
        cls,
        fence: HttpFence | None = None,
        chat: ChatService | None = None,
        *,
        enabled: Collection[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> "Registry":
        """Give a registry that holds the built-in types.

        `fence` says which hosts `http.request` and `llm.chat` may reach; without one they reach public addresses only.
        `chat` is the service that `llm.chat` asks by default. `enabled` are those of the types in `OFF_UNLESS_ENABLED`
        that can be used; a program that `command` runs sees the variables in `environment`, by default none.
        """
        registry = cls()
        fence = fence or HttpFence()
        registry.load_module(BUILTINS)
        registry.add(http_request_within(fence).node_type, BUILTINS)
        registry.add(llm_chat_at(chat or ChatService(), fence).node_type, BUILTINS)
        for function in (run_python, command_with(environment or {})):
            if function.node_type.name in enabled:
                registry.add(function.node_type, BUILTINS)
        return registry

    def add(self, node_type: NodeType, origin: str) -> None:
        """Add a type; adding the same one again changes nothing. Raises `DuplicateNodeType` for another of its name."""
        known = self._types.get(node_type.name)
        if known is node_type:
            return
        if known is not None:
            raise DuplicateNodeType(node_type.name, self._origins[node_type.name], origin)
        self._types[node_type.name] = node_type
        self._origins[node_type.name] = origin

    def load_module(self, name: str) -> None:
        """Import a module and add the types that are declared in it, or, if it is a package, below it.

        Raises `PluginFailed` when it cannot be imported or declares none, and `DuplicateNodeType`.
        """
        try:
            module = importlib.import_module(name)
        except Exception as error:
            module_name = name.removeprefix("./").removesuffix(".py").replace("/", ".")
            hint = "" if module_name == name else f"; a module is named without its file, did you mean {module_name!r}?"
            raise PluginFailed(name, f"its import failed: {type(error).__name__}: {error}{hint}") from error
        self._add_module(module, name)

    def load_entry_points(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        """Add the types of every installed plugin: entry points of the group `weftline.nodes`.

        An entry point names a module, a decorated function or a `NodeType`. Raises as `load_module` does.
        """
        found = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP) if entry_points is None else entry_points
        for entry_point in sorted(found, key=lambda point: (point.name, point.value)):
            plugin = f"{entry_point.name} = {entry_point.value}"
            try:
                loaded = entry_point.load()
            except Exception as error:
                raise PluginFailed(plugin, f"its import failed: {type(error).__name__}: {error}") from error
            self._add_loaded(loaded, plugin)

    def get(self, name: str) -> NodeType | None:
        """Give the type of a name, or None."""
        return self._types.get(name)

    def names(self) -> list[str]:
        """Give the names of all types, sorted."""
        return sorted(self._types)

    def nearest(self, name: str) -> str | None:
        """Give the known name that is most like a name that is not known, or None when none is."""
        near = difflib.get_close_matches(name, self._types, 1)
        # Half of a dotted name is too short to count as similar.
        parts = [known for known in self.names() if name in known.split(".")]
        return next(iter(near + parts), None)

    def why_off(self, name: str) -> str | None:
        """Say why a built-in type cannot be used, or give None if it can, or if there is none of this name."""
        if name in self._types or name not in OFF_UNLESS_ENABLED:
            return None
        return f"the node type {name!r} is off; {ENABLE_SETTING}={name} turns it on where the executor is started"

    def __iter__(self) -> Iterator[NodeType]:
        return iter([self._types[name] for name in self.names()])

    def __len__(self) -> int:
        return len(self._types)

    def _add_loaded(self, loaded: object, plugin: str) -> None:
        if isinstance(loaded, ModuleType):
            self._add_module(loaded, plugin)
            return
        node_type = _node_type_of(loaded)
        if node_type is None:
            raise PluginFailed(plugin, f"it is neither a module nor a node type, but a {type(loaded).__name__}")
        self.add(node_type, plugin)

    def _add_module(self, module: ModuleType, plugin: str) -> None:
        found = [node_type for value in vars(module).values() if (node_type := _node_type_of(value)) is not None]
        own = [node_type for node_type in found if _declared_in(node_type, module.__name__)]
        if not own:
            raise PluginFailed(plugin, "it declares no node type; is a @node missing?")
        for node_type in own:
            self.add(node_type, plugin)


def _node_type_of(value: object) -> NodeType | None:
    if isinstance(value, NodeType):
        return value
    node_type = getattr(value, "node_type", None)
    return node_type if isinstance(node_type, NodeType) else None


def _declared_in(node_type: NodeType, module: str) -> bool:
    return f"{node_type.function.__module__}.".startswith(f"{module}.")

"""Values that are too large for the log: kept beside it by their content, in a directory, in memory or in a bucket."""

from weftline_executor.artifacts.artifacts import Artifacts
from weftline_executor.artifacts.entries import Entries, Entry
from weftline_executor.artifacts.files import MEMORY, Files
from weftline_executor.artifacts.names import check_uri
from weftline_executor.artifacts.preview import preview

__all__ = ["MEMORY", "Artifacts", "Entries", "Entry", "Files", "check_uri", "preview"]

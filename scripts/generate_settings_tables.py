"""Writes the tables of settings into the README from the services' settings classes; with --check, only compares."""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import weftline_bridge.settings
import weftline_executor.settings

README = Path(__file__).resolve().parents[1] / "README.md"
SERVICES: dict[str, type[BaseSettings]] = {
    "executor": weftline_executor.settings.Settings,
    "bridge": weftline_bridge.settings.Settings,
}


class MarkersMissing(Exception):
    """A document has no place for a table; `service` is the one whose table it is."""

    def __init__(self, service: str) -> None:
        super().__init__(f"no <!-- settings:{service} --> … <!-- /settings:{service} --> in the document")
        self.service = service


def variable(settings: type[BaseSettings], field: str) -> str:
    """The environment variable of a field of a settings class."""
    return f"{settings.model_config.get('env_prefix', '')}{field}".upper()


def shown_default(info: FieldInfo) -> str:
    """A field's default as one would write it into the environment; `required` where it has none."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list | frozenset):
        return f"`{','.join(str(item) for item in value)}`"
    return f"`{value}`"


def choices(info: FieldInfo) -> str:
    """The values that a field is limited to, as a sentence; empty where it is not limited to some."""
    if get_origin(info.annotation) is not Literal:
        return ""
    return f"One of {', '.join(f'`{value}`' for value in get_args(info.annotation))}."


def table(settings: type[BaseSettings]) -> str:
    """A Markdown table of a settings class: variable, default, meaning."""
    return "\n".join(_lines(settings))


def _lines(settings: type[BaseSettings]) -> Iterator[str]:
    yield "| variable | default | meaning |"
    yield "| --- | --- | --- |"
    for field, info in settings.model_fields.items():
        meaning = " ".join(filter(None, ((info.description or "").replace("|", "\\|"), choices(info))))
        yield f"| `{variable(settings, field)}` | {shown_default(info)} | {meaning} |"


def with_tables(document: str) -> str:
    """The document with the tables of all services between their markers; raises MarkersMissing without the markers."""
    for service, settings in SERVICES.items():
        opening, closing = f"<!-- settings:{service} -->", f"<!-- /settings:{service} -->"
        place = re.search(f"{re.escape(opening)}.*?{re.escape(closing)}", document, re.DOTALL)
        if place is None:
            raise MarkersMissing(service)
        document = f"{document[: place.start()]}{opening}\n{table(settings)}\n{closing}{document[place.end() :]}"
    return document


def main() -> int:
    """Rewrites the README, or with --check says whether it is current; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the README is not current")
    check = parser.parse_args().check
    document = README.read_text()
    try:
        current = with_tables(document)
    except MarkersMissing as error:
        print(f"README.md: {error}", file=sys.stderr)
        return 1
    if document == current:
        return 0
    if check:
        print("README.md: the tables of settings are not current: run make generate.", file=sys.stderr)
        return 1
    README.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main())

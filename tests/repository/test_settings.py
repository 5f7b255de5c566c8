"""The README's tables of settings are those of the code, and no document names a setting that does not exist."""

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from scripts.generate_settings_tables import SERVICES, MarkersMissing, table, variable, with_tables
from tests.repository.layout import ROOT, files

OTHERS = {"WEFTLINE_SECRET_"}
"""Variables that are no field of a settings class: a prefix is followed by a name of the user's own."""


class Sample(BaseSettings):
    """Settings of every kind of default."""

    model_config = SettingsConfigDict(env_prefix="WEFTLINE_SAMPLE_")

    token: str = Field(description="Who asks.")
    enabled: bool = Field(True, description="On | off.")
    names: Annotated[tuple[str, ...], NoDecode] = Field(("a", "b"), description="Some names.")
    folder: Path | None = Field(None, description="Where.")
    form: Literal["text", "json"] = Field("text", description="How.")


def known_variables() -> set[str]:
    return {variable(settings, field) for settings in SERVICES.values() for field in settings.model_fields}


def test_the_readme_has_the_settings_of_the_code() -> None:
    readme = (ROOT / "README.md").read_text()
    assert with_tables(readme) == readme, "run make generate"


def test_every_setting_says_what_it_means() -> None:
    silent = {
        variable(settings, field)
        for settings in SERVICES.values()
        for field, info in settings.model_fields.items()
        if not (info.description or "").endswith(".")
    }
    assert silent == set()


def test_every_setting_that_is_named_anywhere_exists() -> None:
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in files("*.md", "*.py", "*.env", "*.yaml", "*.json", "Dockerfile", "Makefile")
        if path != Path(__file__)
        for name in re.findall(r"WEFTLINE_(?:EXECUTOR|BRIDGE)_[A-Z_]*[A-Z]", path.read_text())
    }
    known = known_variables()
    unknown = {(path, name) for path, name in named if name not in known and not path.startswith("tests/")}
    assert unknown == set()


def test_a_table_shows_each_variable_with_its_default_and_meaning() -> None:
    assert table(Sample).splitlines()[2:] == [
        "| `WEFTLINE_SAMPLE_TOKEN` | required | Who asks. |",
        "| `WEFTLINE_SAMPLE_ENABLED` | `true` | On \\| off. |",
        "| `WEFTLINE_SAMPLE_NAMES` | `a,b` | Some names. |",
        "| `WEFTLINE_SAMPLE_FOLDER` | none | Where. |",
        "| `WEFTLINE_SAMPLE_FORM` | `text` | How. One of `text`, `json`. |",
    ]


def test_a_document_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(MarkersMissing, match="settings:executor"):
        with_tables("# Weftline\n")

"""What the tests read in a Markdown document: fenced blocks, links, headings."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.repository.layout import ROOT


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a document."""

    document: Path
    line: int
    """The line of the block's first line of content, from 1."""
    language: str
    marks: frozenset[str]
    """The words after the language: what a test may do with the block."""
    content: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def _tokens(document: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(document.read_text())


def blocks(document: Path) -> Iterator[Block]:
    """Yields the fenced blocks of a document, in order."""
    for token in _tokens(document):
        if token.type == "fence" and token.map is not None:
            language, *marks = token.info.split() or [""]
            yield Block(document, token.map[0] + 2, language, frozenset(marks), token.content)


def links(document: Path) -> Iterator[str]:
    """Yields the targets of a document's links and images."""
    for token in _tokens(document):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            if child.type in {"link_open", "image"} and isinstance(target, str):
                yield target


def anchors(document: Path) -> set[str]:
    """The fragments by which a document's headings can be linked to."""
    tokens = _tokens(document)
    headings = [text for before, text in itertools.pairwise(tokens) if before.type == "heading_open"]
    return {_slug("".join(child.content for child in heading.children or [])) for heading in headings}


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

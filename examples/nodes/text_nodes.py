"""Two node types of one's own: `text.stats` counts words in a thread, `text.read_aloud` takes its time."""

import re
from collections import Counter
from typing import Annotated

from pydantic import Field

from weftline_executor.nodes import Branch, Context, NodeFailed, node

_LINES_BETWEEN_REPORTS = 1000


@node("text.stats", title="Count words")
def text_stats(
    ctx: Context,
    text: Annotated[str, Field(description="The text to count in.")],
    top: Annotated[int, Field(ge=1, le=100, description="How many of the most frequent words are given.")] = 3,
) -> dict[str, object]:
    """Counts the lines and words of a text, and finds the most frequent words."""
    lines = text.splitlines()
    counts: Counter[str] = Counter()
    for number, line in enumerate(lines, start=1):
        counts.update(re.findall(r"\w+", line.lower()))
        if number % _LINES_BETWEEN_REPORTS == 0:
            if ctx.cancelled:
                raise NodeFailed("stopped while counting", "stopped")
            ctx.progress(number / len(lines))
    return {"lines": len(lines), "words": counts.total(), "top": [word for word, _ in counts.most_common(top)]}


@node("text.read_aloud", title="Read aloud", outputs=("read", "empty"))
async def read_aloud(
    ctx: Context,
    text: Annotated[str, Field(description="The text to read.")],
    words_per_minute: Annotated[float, Field(gt=0, description="How fast it is read.")] = 240.0,
) -> Branch:
    """Writes a text to the log sentence by sentence, at the pace of somebody who reads it aloud.

    The handle `read` fires at the end of it, `empty` when there was nothing to read.
    """
    sentences = [sentence.strip() for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence.strip()]
    seconds = 0.0
    for number, sentence in enumerate(sentences, start=1):
        ctx.log(sentence, sentence=number)
        pause = len(sentence.split()) * 60 / words_per_minute
        await ctx.sleep(pause)
        seconds += pause
        ctx.progress(number / len(sentences))
    return Branch("read" if sentences else "empty", {"sentences": len(sentences), "seconds": seconds})

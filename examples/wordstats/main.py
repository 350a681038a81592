"""Statistics of a text: a plugin that reads a file it was granted."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable

from plugbay import Context, InvalidParams, Plugin

CHUNK = 64 << 10
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")  # noqa: RUF001 - typographic apostrophes

plugin = Plugin("wordstats", "1.0.0")


@plugin.method
def count(path: str | None = None, text: str | None = None) -> dict[str, int]:
    """Count as ``wc`` does, in a file or in a text given as it is."""
    if path is not None and text is None:
        with open(path, "rb") as file:
            return tally(iter(lambda: file.read(CHUNK), b""))
    if text is not None and path is None:
        return tally([text.encode()])
    raise InvalidParams("either `path` or `text`, please")


@plugin.method
def top(ctx: Context, path: str, limit: int = 10) -> list[dict[str, object]]:
    """Find the most frequent words, ignoring case."""
    config = ctx.config or {}
    ignored = frozenset(config.get("ignore", ()))
    shortest = config.get("shortest", 1)
    size = os.path.getsize(path)
    seen: Counter[str] = Counter()
    done = 0
    with open(path, "rb") as file:
        for line in file:
            seen.update(
                word
                for word in WORD.findall(line.decode("utf-8", "replace").lower())
                if len(word) >= shortest and word not in ignored
            )
            before, done = done, done + len(line)
            if done // CHUNK != before // CHUNK:
                ctx.check_cancelled()
                ctx.progress(done, size, "reading")
    ctx.progress(size, size, "read")
    ctx.log.info("text read", words=sum(seen.values()), different=len(seen))
    ranked = sorted(seen.items(), key=lambda found: (-found[1], found[0]))
    return [{"word": word, "count": number} for word, number in ranked[:limit]]


def tally(chunks: Iterable[bytes]) -> dict[str, int]:
    """Count what comes in pieces, which may end within a word."""
    lines = words = size = 0
    in_word = False
    for chunk in chunks:
        lines += chunk.count(b"\n")
        words += len(chunk.split())
        size += len(chunk)
        if in_word and not chunk[:1].isspace():
            words -= 1  # its first word is the rest of the last one
        in_word = not chunk[-1:].isspace()
    return {"lines": lines, "words": words, "bytes": size}


if __name__ == "__main__":
    plugin.run()

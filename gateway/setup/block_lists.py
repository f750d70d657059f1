"""Whether an address looks like one that public block lists hold, and path names that do not.

The patterns are a small dated excerpt (block_lists.txt) of what resembles a tagging gateway's routes: being on none of them
is for reliability, not a promise, and not a way round a visitor's own choice, which the consent signals carry.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("block_lists.txt")
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_TELLING = re.compile("ad|trac|pix|stat|log|tag|hit|pin|sta|met|ana|ban|bid|spy|ga", re.IGNORECASE)
"""Bits of words that a future pattern may well hold."""


@dataclass(frozen=True, slots=True)
class BlockLists:
    """The patterns with the day on which they were read."""

    read: str
    patterns: tuple[str, ...]
    _compiled: tuple[re.Pattern[str], ...]

    def match(self, url: str) -> str | None:
        """The first pattern that holds the URL, None where none does."""
        found = (text for text, pattern in zip(self.patterns, self._compiled, strict=True) if pattern.search(url))
        return next(found, None)


@dataclass(frozen=True, slots=True)
class Names:
    """Neutral path names: `/{prefix}/{events}`, `/{prefix}/{pixel}` and `/{prefix}/{tag}`."""

    prefix: str
    events: str
    pixel: str
    tag: str


@cache
def block_lists() -> BlockLists:
    """The excerpt that is shipped."""
    lines = FILE.read_text("utf-8").splitlines()
    read = next(line.removeprefix("! read:").strip() for line in lines if line.startswith("! read:"))
    patterns = tuple(line.strip() for line in lines if line.strip() and not line.startswith("!"))
    return BlockLists(read, patterns, tuple(_compile(text) for text in patterns))


def neutral_names(host: str) -> Names:
    """Random names that no pattern holds; every installation has its own."""
    while True:
        names = Names(_word(3), _word(2), _word(2), f"{_word(2)}.js")
        if names.events != names.pixel and not any(block_lists().match(url) for url in urls(host, names)):
            return names


def urls(host: str, names: Names) -> list[str]:
    """The addresses that a page would ask for under these names."""
    base = f"https://{host}/{names.prefix}"
    return [
        f"{base}/{names.events}",
        f"{base}/{names.events}?k=wk_",
        f"{base}/{names.pixel}?k=wk_&e=page_view",
        f"{base}/{names.tag}?k=wk_",
        f"{base}/v1/consent?k=wk_",
    ]


def _word(syllables: int) -> str:
    while True:
        word = "".join(secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(syllables))
        if not _TELLING.search(word):
            return word


def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern of the lists' notation as a regular expression."""
    text = pattern.removesuffix("/*") + ("/" if pattern.endswith("/*") else "")
    body = re.escape(text.removesuffix("|")).replace(r"\*", ".*").replace(r"\^", r"(?:[^\w.%-]|$)")
    return re.compile(body + ("$" if text.endswith("|") else ""), re.IGNORECASE)

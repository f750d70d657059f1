"""The edge's wash: what leaves the front door can be stored and written as JSON, whatever bytes a client sent.

Header values and query strings come with undecodable bytes as lone surrogates (how Python's HTTP parsers keep them) and
may hold control characters. Such bytes become U+FFFD, control characters are dropped except tab and newline. What is
clean already, nearly always, is passed on as it is.
"""

from __future__ import annotations

import re

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}
_ESCAPED_CONTROL = re.compile(r"%(?:0[0-8b-f]|1[0-9a-f]|7f)", re.IGNORECASE)
_MAY_ESCAPE = ("%0", "%1", "%7")


def clean_text(text: str) -> str:
    """Text without surrogates and control characters."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").translate(_CONTROLS)


def clean_query(query: str) -> str:
    """A raw query string, also without escaped control characters.

    An escaped one becomes `%20`: leaving it out could join its neighbours to a new escape.
    """
    query = clean_text(query)
    if any(mark in query for mark in _MAY_ESCAPE):
        query = _ESCAPED_CONTROL.sub("%20", query)
    return query


def add_line(headers: dict[str, str], name: str, value: str) -> None:
    """Add a header line to those of a request: names in lower case, repeated lines joined by `, `, cookies by `; `."""
    if name in headers:
        value = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
    headers[name] = value


def clean_headers(given: dict[str, str]) -> dict[str, str]:
    """The headers with clean values; the very ones where they are clean."""
    together = "".join(given.values())
    if together.isascii() and together.isprintable():
        return given
    return {name: clean_text(value) for name, value in given.items()}

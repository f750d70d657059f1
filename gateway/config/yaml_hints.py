"""What a YAML syntax error means for the person who wrote the line, in words that say what to type instead.

The parser's own words depend on how PyYAML was built; these messages are chosen by the text at the place of the error, so
that they stay the same.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.config.tree import Scalar

_OPERATOR_AT_END = re.compile(r"(\||//|[:,<>=(\[]|==|!=|\b(?:and|or|not|in))$")
_COMMENT = re.compile(r"[ \t]+#(.?)")


def explain(error: Any, lines: list[str]) -> tuple[str, int]:
    """A sentence and a line (from 1) for a yaml.YAMLError."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return f"is not YAML: {_first_line(error)}", 1
    context = getattr(error, "context_mark", None) or mark
    words = f"{getattr(error, 'context', None) or ''} {getattr(error, 'problem', None) or ''}"
    for test in (_depth, _quote_left_open, _alias, _braces_after_dollar, _first_character, _colon, _escape, _tag, _flow):
        if found := test(words, mark, context, lines):
            return found
    return "YAML cannot be read here; look at the indentation and the quotes of this line and the one above", mark.line + 1


def cut_by_comment(scalar: Scalar, lines: list[str], end: Any) -> str | None:
    """Why a plain value ending at `end` seems to have been cut by ` #`, or None."""
    comment = _COMMENT.match(lines[end.line], end.column) if end.line < len(lines) else None
    if not comment:
        return None
    glued = comment[1].isalnum() or comment[1] in ("{", "$", "%")
    if glued or _unfinished(scalar):
        return 'the value is cut at " #", which begins a comment; put it in double quotes (or write "# " before a comment)'
    return None


def _unfinished(text: str) -> bool:
    """Whether an expression stops in the middle: an open quote or bracket, or an operator with nothing behind it."""
    if not text.startswith("$"):
        return False
    if text.count('"') % 2 or text.count("'") % 2:
        return True
    return any(text.count(a) != text.count(b) for a, b in ("()", "[]", "{}")) or bool(_OPERATOR_AT_END.search(text))


def _at(lines: list[str], mark: Any) -> str:
    line = lines[mark.line] if mark.line < len(lines) else ""
    return line[mark.column : mark.column + 1]


def _word(lines: list[str], mark: Any) -> str:
    """The value that begins at a mark, as far as a reader would take it."""
    line = lines[mark.line] if mark.line < len(lines) else ""
    found = re.match(r"[^\s,\]}#:\"]{1,40}", line[mark.column :])
    return found[0] if found else ""


def _first_line(error: object) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _depth(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    # newer versions of libyaml read ahead and stop by themselves at 1,000 levels, before the builder has seen the 33rd
    return ("nested deeper than 32 levels", mark.line + 1) if "nesting depth" in words else None


def _quote_left_open(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    if "quoted scalar" in words and ("end of stream" in words or "document" in words):
        return "a quote that opens here is not closed", context.line + 1
    return None


def _alias(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    if "an alias" in words:
        return 'an unquoted * begins an alias; quote it: "*"', context.line + 1
    if "an anchor" in words:
        return "an unquoted & begins an anchor; put the value in double quotes", context.line + 1
    return None


def _braces_after_dollar(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    for place in (mark, context):
        line = lines[place.line] if place.line < len(lines) else ""
        before = line[: place.column + 2]
        if "flow" in words and "${" in before and re.search(r"[\[{,:]\s*\$\{", before):
            return (
                'braces after ${ inside {…} or […]: put the value in double quotes ("${NAME}") or write the map in block style',
                place.line + 1,
            )
    return None


def _first_character(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    if "block scalar" in words:
        sign = _at(lines, context)
        return f"a value cannot begin with {sign} unless a text block follows; put it in double quotes", context.line + 1
    if "cannot start any token" not in words:
        return None
    character = _at(lines, mark)
    if character == "\t":
        return "a tab stands here; YAML takes spaces only for indentation", mark.line + 1
    return f'a value cannot begin with {character}; quote it: "{_word(lines, mark) or character}"', mark.line + 1


def _colon(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    if "mapping values are not allowed" in words:
        return 'a second ": " in one value, or a wrong indentation; put the value in double quotes', mark.line + 1
    return None


def _escape(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    if "escape" in words or "hexdecimal" in words:
        return r"an unknown \ escape in double quotes; write \\ or use single quotes", mark.line + 1
    return None


def _tag(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    if "a tag" in words or "tag handle" in words:
        return "an unquoted ! begins a tag, which is not read; put the value in double quotes", context.line + 1
    return None


def _flow(words: str, mark: Any, context: Any, lines: list[str]) -> tuple[str, int] | None:
    if "while parsing a flow" in words:
        where = f"line {context.line + 1}" if context.line != mark.line else "this line"
        return f"a comma is missing, or the […] or {{…}} that opens in {where} is not closed", mark.line + 1
    return None

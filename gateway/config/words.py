"""Words for messages: scalars that YAML reads as something else, and near matches for misspelt names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from gateway.config.tree import Scalar

_BOOLEANS = {
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON", "True", "TRUE", "y", "Y"), "true"),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF", "False", "FALSE", "n", "N"), "false"),
}
_OCTAL = re.compile(r"[-+]?0[0-7_]+$")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?$")
_PREFIXED = re.compile(r"[-+]?0[xob][0-9a-fA-F_]+$")
_UNDERSCORED = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*$")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?$")
_SPECIAL = re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")


def suspicious(scalar: str) -> str | None:
    """What is wrong with an unquoted scalar where no type is declared, or None.

    The answer completes a sentence that begins with the key's path:

    >>> f"regions.{key} {suspicious(key)}"
    'regions.NO was read as "false" by YAML; quote it: "NO"'
    """
    if not isinstance(scalar, Scalar) or not scalar.plain:
        return None
    read = _read_by_yaml(scalar)
    return None if read is None else f'was read as "{read}" by YAML; quote it: "{scalar}"'


def _read_by_yaml(text: str) -> str | None:
    """What a YAML 1.1 reader (most editors and tools) makes of a text that we would take differently."""
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > 40:  # no number that anybody meant; int() refuses long ones
        return None
    if _OCTAL.match(text):
        return str(int(text.replace("_", ""), 8))
    if _PREFIXED.match(text):
        return _prefixed(text)
    if _UNDERSCORED.match(text):
        return text.replace("_", "")
    if _SEXAGESIMAL.match(text):
        return _sexagesimal(text)
    if _LEADING_ZERO.match(text):
        return text.lstrip("+-0") or "0"
    return text.lower() if _SPECIAL.match(text) else None


def _prefixed(text: str) -> str | None:
    try:
        return str(int(text.replace("_", ""), 0))
    except ValueError:
        return None


def _sexagesimal(text: str) -> str:
    sign = "-" if text.startswith("-") else ""
    total = 0.0
    for part in text.lstrip("+-").split(":"):
        total = total * 60 + float(part)
    return f"{sign}{total:g}"


def shown(text: str) -> str:
    """A text of the input as a message may quote it: one line, at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:60]}…"


def near(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    names = sorted(set(known))
    folded = {name.lower().replace("-", "_"): name for name in names}
    found = difflib.get_close_matches(word.lower().replace("-", "_")[:100], list(folded), 1, 0.7)
    return folded[found[0]] if found else None


def hint(word: str, known: Iterable[str], *, lead: str = "known here") -> str:
    """`; did you mean meta?`, or the list of what there is: the tail of a message about an unknown name."""
    names = list(known)
    if found := near(word, names):
        return f"; did you mean {found}?"
    return f"; {lead}: {', '.join(names)}" if names else ""

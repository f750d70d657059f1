"""Masks personal data and secrets in what the page shows: by where a value stands, by its value, and by its looks.

- **Where it stands**: everything under `user`, `ids` and `raw`, the device's address and agent, and any key that tells
  (`email`, `ph`, `client_ip_address`, `first_name` …), at any depth.
- **Its value**: what stood there is masked wherever else it occurs, in a title, in a URL or in a vendor's answer.
- **Its looks**: e-mail addresses, phone numbers, IP addresses, queries of URLs, vendors' cookies and known secrets, by the
  rules of the log; a hash is cut to its first six characters, which still shows that there is one.

Keys and structure stay, so that one sees *that* an e-mail address came in or went out. A mask gives `***`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from gateway.observe.log import MASK, Redactor

_PERSONAL_KEY = re.compile(
    r"""^(?:
    (.*[_.-])?(
    e?mails?|phones?(_number)?|mobile|ip_?address(es)?|user_?agent|
    (first|last|full|middle|given|family|sur|user|nick|login|display|contact|recipient|customer)_?name|
    street\d?|address(_?line)?(_?\d)?|city|zip|zip_?code|post(al)?_?code|postcode|birth_?(date|day)|gender|
    (user|anonymous|client|external|visitor|customer|person|profile|device|session|contact|app_instance|login|click)_?id|
    advertising_?id|fbclid|gclid|iban|tax_?id|passport)
    |em|tel|ph|ips?|ip_override|ua|fn|ln|f_name|l_name|addresses|billing|shipping_address|ct|st|zp|dob|db|ge|idfa|gaid|
    traits|users?|user_data|user_properties|ids|customers?|contacts?|fbp|fbc|dclid|gbraid|wbraid|msclkid|ttclid|ttp|twclid|
    li_fat_id|sccid|epik|rdt_cid|rdt_uuid|yclid|ssn|raw)$""",
    re.IGNORECASE | re.VERBOSE,
)
_SECRET_KEY = re.compile(
    r"(pass(word|wd)?|secret|token|authorization|api_?key|signature|hmac|cookie|credentials?)$", re.IGNORECASE
)
_SECTIONS = ("user", "ids", "raw")
_DEVICE = ("ip", "user_agent", "advertising_id", "id")
_OPEN_USER = frozenset({"country", "gender", "state"})
"""Values of `user` that are masked where they stand, and too common to be looked for elsewhere."""
_HASH = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{64}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{32})(?![0-9A-Fa-f])")
_OF_NOBODY = ("127.0.0.1", "::1")
"""Addresses of a visitor at this machine itself: not looked for elsewhere, where they are the gateway's own."""
_SHORTEST = 3
_MOST_TEXT = 2000


class Known:
    """Personal values of one event, to be found wherever they occur."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        forms = {form for value in values for form in _forms(value)}
        longest_first = sorted(forms, key=len, reverse=True)
        words = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])", re.IGNORECASE) if forms else None
        self.values = frozenset(forms)

    def hide(self, text: str) -> str:
        """The text without them."""
        return self._pattern.sub(MASK, text) if self._pattern else text


NOBODY = Known()


def _forms(value: Any) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return
    text = str(value).strip()
    if len(text) >= _SHORTEST and text != MASK and text not in _OF_NOBODY:
        yield from {text, quote(text, safe=""), orjson.dumps(text).decode()[1:-1]}


def personal(data: Mapping[str, Any]) -> Iterator[Any]:
    """The personal values of an event."""
    for section in _SECTIONS:
        for key, value in _items(data.get(section)):
            if not (section == "user" and key in _OPEN_USER):
                yield from leaves(value)
    for key in _DEVICE:
        yield from leaves(data.get("device", {}).get(key))
    yield from leaves(data.get("geo", {}).get("city"))
    for section in ("props", "items"):
        yield from _telling(data.get(section))


def _items(section: Any) -> Iterable[tuple[str, Any]]:
    return section.items() if isinstance(section, Mapping) else ()


def _telling(value: Any) -> Iterator[Any]:
    """Values under a key that tells, at any depth."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from leaves(one) if _PERSONAL_KEY.match(str(key)) else _telling(one)
    elif isinstance(value, list):
        for one in value:
            yield from _telling(one)


def leaves(value: Any) -> Iterator[Any]:
    """The texts and numbers in a value."""
    if isinstance(value, Mapping):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    elif value is not None:
        yield value


class Mask:
    """Masks for one configuration: `secrets` are its secret values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._redactor = Redactor(secrets)

    def text(self, text: str, known: Known = NOBODY) -> str:
        """A text for the page."""
        return _HASH.sub(_short, self._redactor.text(known.hide(text[: 4 * _MOST_TEXT])))

    def value(self, value: Any, known: Known = NOBODY, key: str = "") -> Any:
        """Any JSON value for the page; what stands under a telling key is masked as a whole."""
        if _SECRET_KEY.search(key):
            return MASK
        if key == "consent":  # purposes are named like personal data, and hold none
            return value if not isinstance(value, str) else self.text(value, known)
        if _PERSONAL_KEY.match(key):
            return self._hidden(value)
        if isinstance(value, Mapping):
            return {self.text(str(k), known): self.value(v, known, str(k)) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(one, known) for one in value]
        if isinstance(value, str):
            return self.text(value, known)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and str(value) in known.values:
            return MASK
        return value

    def _hidden(self, value: Any) -> Any:
        """The structure without its values; a hash shows that it is one."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._hidden(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._hidden(one) for one in value]
        if isinstance(value, str) and _HASH.fullmatch(value):
            return f"{value[:6]}… (hash)"
        return value if isinstance(value, bool) or value is None else MASK

    def event(self, data: Mapping[str, Any], known: Known) -> dict[str, Any]:
        """A canonical event for the page."""
        out: dict[str, Any] = {}
        for section, value in data.items():
            if section in _SECTIONS:
                out[section] = self._hidden(value)
            elif section == "device":
                out[section] = {k: MASK if k in _DEVICE else self.value(v, known, k) for k, v in value.items()}
            elif section in ("geo", "session"):
                out[section] = {k: MASK if k in ("city", "id") else self.value(v, known) for k, v in value.items()}
            elif section in ("id", "name", "source", "time", "received", "dialect", "consent"):
                out[section] = value
            else:
                out[section] = self.value(value, known)
        return out

    def body(self, raw: str, known: Known) -> Any:
        """A request body or an answer: the masked JSON value, or the masked text where it is none."""
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return self.text(raw, known)
        return self.value(value, known) if isinstance(value, (dict, list)) else self.text(raw, known)

    def structure(self, raw: str) -> Any:
        """A JSON text without any of its texts: keys, numbers and yes or no stay."""
        try:
            return self._bare(orjson.loads(raw))
        except orjson.JSONDecodeError:
            return MASK if raw else ""

    def _bare(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.text(key): self._bare(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._bare(one) for one in value]
        return MASK if isinstance(value, str) else value


def _short(match: re.Match[str]) -> str:
    return f"{match[0][:6]}… (hash)"

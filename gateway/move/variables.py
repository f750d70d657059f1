"""Variables of a container: what a field of a tag means in our mapping's words.

A field is text in which `{{Name}}` stands for a variable. Nothing is executed:

    constant                                its text
    data layer, event data                  the path in our event that holds the same; a default value as `// 'default'`
    URL: whole, or a UTM value, a click id  `$page.url`, `$campaign.source`, `$ids.gclid`; the referrer likewise
    first-party cookie of a vendor          the id that it holds: `_fbp` is `$ids.fbp`
    look-up table                           `… | map:<table>`, and the table itself for the destination's file
    everything else                         Unclear, with what it is

Version 1 of the data layer takes a dot in a name as part of it; version 2 as a step into what the name holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.enrich.urls import CAMPAIGN, CLICK_IDS

Fields = Mapping[str, Any]

_HOLE = re.compile(r"\{\{([^{}]+)\}\}")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?", re.ASCII)
PATHS = {
    "value": "$props.value",
    "currency": "$props.currency",
    "transaction_id": "$props.transaction_id",
    "tax": "$props.tax",
    "shipping": "$props.shipping",
    "coupon": "$props.coupon",
    "search_term": "$props.search_term",
    "method": "$props.method",
    "items": "$items",
    "event_id": "$event.id",
    "event": "$name",
    "event_name": "$name",
    "user_id": "$user.id",
    "client_id": "$ids.ga_client_id",
    "page_location": "$page.url",
    "page_title": "$page.title",
    "page_referrer": "$page.referrer",
    "user_agent": "$device.user_agent",
    "ip_override": "$device.ip",
    "language": "$device.language",
    "user_data.email": "$user.email",
    "user_data.email_address": "$user.email",
    "user_data.phone": "$user.phone",
    "user_data.phone_number": "$user.phone",
    "user_data.address.first_name": "$user.first_name",
    "user_data.address.last_name": "$user.last_name",
}
"""Paths of the data layer and of server event data that are fields of our event; `ecommerce.` before them is taken off."""
BUILT_IN = {
    "Page URL": "$page.url",
    "Referrer": "$page.referrer",
    "Event": "$name",
    "Event Name": "$name",
    "_event": "$name",
    "Click URL": "$props.link_url",
    "Click Text": "$props.link_text",
    "Form ID": "$props.form_id",
    "Client ID": "$ids.ga_client_id",
    "IP Address": "$device.ip",
    "User Agent": "$device.user_agent",
    "Page Title": "$page.title",
}
_COOKIES = {
    "_fbp": "fbp", "_fbc": "fbc", "_ga": "ga_client_id", "_ttp": "ttp", "ttclid": "ttclid", "_gcl_aw": "gclid",
    "_uetmsclkid": "msclkid", "_scid": "scid", "_epik": "epik", "_rdt_uuid": "rdt_uuid", "li_fat_id": "li_fat_id",
}  # fmt: skip
_KINDS = {
    "jsm": "custom JavaScript",
    "j": "a JavaScript variable of the page",
    "k": "a cookie that is no vendor's",
    "u": "a part of the page's address",
    "f": "a part of the referrer",
    "d": "read from the page's elements",
    "smm": "a look-up table",
    "remm": "a table of regular expressions",
    "aev": "read from the clicked element",
    "vis": "whether an element is to be seen",
    "awec": "user-provided data of Google's: e-mail, phone and name go with the event's own `user`",
    "gas": "settings of Universal Analytics",
    "gtcs": "settings of the Google tag",
    "gtes": "a set of event parameters",
    "ctv": "the container's version",
    "cid": "the container's id",
    "dbg": "whether the preview is on",
    "r": "a random number",
    "t": "the name of the environment",
    "uv": "undefined on purpose",
    "rh": "a request header",
    "qp": "a query parameter of the request",
    "rb": "the body of the request",
    "rm": "the method of the request",
    "rp": "the path of the request",
    "ceq": "a part of the request",
    "fs": "read from Firestore",
}


class Unclear(Exception):
    """A value, trigger or tag that has no meaning here; the message says why."""


def parameters(thing: Fields) -> dict[str, Any]:
    """The parameters of a tag, variable or row of a table: text, lists and maps by key."""
    return {str(one.get("key")): _parameter(one) for one in thing.get("parameter") or () if isinstance(one, dict)}


def _parameter(one: Fields) -> Any:
    if isinstance(one.get("list"), list):
        return [_parameter(each) for each in one["list"] if isinstance(each, dict)]
    if isinstance(one.get("map"), list):
        return {str(each.get("key")): _parameter(each) for each in one["map"] if isinstance(each, dict)}
    return str(one.get("value", ""))


def quoted(text: str) -> str:
    """A text as an expression says it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
    return f"'{escaped}'"


def path_of(path: str) -> str:
    """The path in our event of a path in the data layer. Raises Unclear."""
    plain = path.strip().removeprefix("ecommerce.").removeprefix("eventModel.")
    if plain in PATHS:
        return PATHS[plain]
    if not _PATH.fullmatch(plain):
        raise Unclear(f"the data layer path {path} is no name here")
    return f"$props.{plain}"


class Variables:
    """The variables of a container. `tables` are the look-up tables that were asked for so far, by our name for them."""

    def __init__(self, found: Sequence[Fields]) -> None:
        self._found = {str(one.get("name")): one for one in found}
        self.tables: dict[str, dict[str, str]] = {}

    def constant(self, text: str) -> str:
        """A field as plain text. Raises Unclear where it is not the same for every event."""
        said = self.value(text)
        if "$" in said:
            whole = _HOLE.fullmatch(text.strip())
            kind = self._kind_of(whole[1].strip()) if whole else ""
            raise Unclear(f"{text} is {kind or 'a variable'}, which is not the same for every event")
        return said

    def value(self, text: str) -> str:
        """A field as our mapping writes it: a path, a text, or a text with `${…}` in it. Raises Unclear."""
        whole = _HOLE.fullmatch(text.strip())
        if whole:
            return self._variable(whole[1].strip(), frozenset())
        if "$" in _HOLE.sub("", text):
            raise Unclear(f"{text} holds a $, which begins an expression here")
        parts, at = [], 0
        for hole in _HOLE.finditer(text):
            said = self._variable(hole[1].strip(), frozenset())
            parts += [text[at : hole.start()], f"${{{said}}}" if said.startswith("$") else said]
            at = hole.end()
        return "".join([*parts, text[at:]])

    def rows(self, text: str) -> list[Any]:
        """The rows of a variable that is a set of event parameters; none where a field names no such variable."""
        whole = _HOLE.fullmatch(text.strip())
        variable = self._found.get(whole[1].strip()) if whole else None
        if variable is None or variable.get("type") != "gtes":
            return []
        held = parameters(variable).get("eventSettingsTable")
        return held if isinstance(held, list) else []

    def _kind_of(self, name: str) -> str:
        return _KINDS.get(str(self._found.get(name, {}).get("type")), "")

    def _variable(self, name: str, seen: frozenset[str]) -> str:
        variable = self._found.get(name)
        if variable is None:
            if name in BUILT_IN:
                return BUILT_IN[name]
            raise Unclear(f"{{{{{name}}}}} is a built-in variable that is not read here, or not in the export")
        if name in seen:
            raise Unclear(f"{{{{{name}}}}} leads to itself")
        kind, given = str(variable.get("type")), parameters(variable)
        said = self._read(kind, given, name, seen | {name})
        if said is None:
            raise Unclear(f"{{{{{name}}}}} is {_KINDS.get(kind, f'of type {kind}')}: put its value into the event")
        if variable.get("formatValue") and said.startswith("$"):
            raise Unclear(f"{{{{{name}}}}} changes the form of its value: put it into the event as it shall be")
        return said

    def _read(self, kind: str, given: Fields, name: str, seen: frozenset[str]) -> str | None:
        if kind == "c":
            return self._constant(str(given.get("value", "")), name, seen)
        if kind in ("v", "ed"):
            return _with_default(_data_layer(given), given)
        if kind == "e":
            return "$name"
        if kind == "k":
            field = _COOKIES.get(str(given.get("name")))
            return f"$ids.{field}" if field else None
        if kind in ("u", "f") and not given.get("customUrlSource"):
            return _address(kind, given)
        return self._table(given, name, seen) if kind == "smm" else None

    def _constant(self, text: str, name: str, seen: frozenset[str]) -> str:
        inner = _HOLE.fullmatch(text)
        if inner:
            return self._variable(inner[1].strip(), seen)
        if "$" in text or "{{" in text:
            raise Unclear(f"{{{{{name}}}}} is a text with a $ or a variable in it")
        return text

    def _table(self, given: Fields, name: str, seen: frozenset[str]) -> str:
        asked = _HOLE.fullmatch(str(given.get("input", "")).strip())
        if asked is None:
            raise Unclear(f"{{{{{name}}}}} is a look-up table of a text that is put together")
        try:
            source = self._variable(asked[1].strip(), seen)
        except Unclear as error:
            raise Unclear(f"{{{{{name}}}}} is a look-up table: {error}") from None
        if not source.startswith("$"):
            raise Unclear(f"{{{{{name}}}}} is a look-up table of what is always the same")
        rows = [one for one in given.get("map") or () if isinstance(one, dict)]
        table = {str(one.get("key", "")): self._cell(str(one.get("value", "")), name, seen) for one in rows}
        if str(given.get("setDefaultValue")).lower() == "true":
            table["_"] = self._cell(str(given.get("defaultValue", "")), name, seen)
        called = "gtm_" + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        self.tables[called] = table
        return f"{source} | map:{called}"

    def _cell(self, text: str, name: str, seen: frozenset[str]) -> str:
        if "{{" in text and not _HOLE.fullmatch(text):
            raise Unclear(f"{{{{{name}}}}} is a look-up table whose answers are put together")
        said = self._constant(text, name, seen)
        if said.startswith("$"):
            raise Unclear(f"{{{{{name}}}}} is a look-up table whose answers are not always the same")
        return said


def _data_layer(given: Fields) -> str:
    path = str(given.get("name") or given.get("keyPath") or "")
    if str(given.get("dataLayerVersion")) == "1" and "." in path:
        raise Unclear(f"{path} is read by version 1 of the data layer, where the dot is part of the name")
    return path_of(path)


def _with_default(path: str, given: Fields) -> str:
    if str(given.get("setDefaultValue")).lower() != "true":
        return path
    default = str(given.get("defaultValue", ""))
    if "{{" in default or "$" in default:
        raise Unclear("its default value is a variable")
    return f"{path} // {json.loads(default) if _NUMBER.fullmatch(default) else quoted(default)}"


def _address(kind: str, given: Fields) -> str | None:
    component = str(given.get("component") or "URL").upper()
    if component == "URL":
        return "$page.url" if kind == "u" else "$page.referrer"
    key = str(given.get("queryKey", "")).lower()
    if kind == "u" and component == "QUERY":
        if key in CAMPAIGN:
            return f"$campaign.{CAMPAIGN[key]}"
        if key in CLICK_IDS:
            return f"$ids.{CLICK_IDS[key]}"
    return None

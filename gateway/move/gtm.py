"""A Google Tag Manager container export, as JSON: its tags, what fires them, and what their fields mean here.

Read are exports of the web interface and of the API alike (`CUSTOM_EVENT` and `customEvent` are one trigger type). Nothing of
the container is executed. What has no meaning here is an Unclear with its reason, never a guess:

- A field is text, in which `{{Name}}` stands for a variable. Constants become their value, data layer and event data
  variables the path in our event that holds the same (`ecommerce.value` → `$props.value`), a few built-in ones likewise.
- A trigger is the list of event names that it fires on. Its further conditions are named and not carried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import GatewayError

Fields = Mapping[str, Any]

_HOLE = re.compile(r"\{\{([^{}]+)\}\}")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
_ALTERNATIVES = re.compile(r"\^?\(?([A-Za-z0-9_.-]+(?:\|[A-Za-z0-9_.-]+)*)\)?\$?", re.ASCII)
EVERY = "*"
"""Stands for every event."""

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
}
"""Paths of the data layer and of server event data that are fields of our event; `ecommerce.` before them is taken off."""
BUILT_IN = {
    "Page URL": "$page.url",
    "Referrer": "$page.referrer",
    "Event": "$name",
    "Event Name": "$name",
    "_event": "$name",
    "Click URL": "$props.link_url",
    "Form ID": "$props.form_id",
}
_FIRES = {
    "PAGEVIEW": "page_view",
    "DOMREADY": "page_view",
    "WINDOWLOADED": "page_view",
    "HISTORYCHANGE": "page_view",
    "INIT": "page_view",
    "CONSENTINIT": "page_view",
    "CLICK": "click",
    "LINKCLICK": "click",
    "FORMSUBMISSION": "form_submit",
    "SCROLLDEPTH": "scroll",
    "ALWAYS": EVERY,
}
"""Trigger types that say by themselves which event of ours it is."""
_BUILT_IN_TRIGGERS = {"2147479553": "page_view", "2147479572": "page_view", "2147479573": "page_view"}
"""All Pages, Consent Initialization, Initialization; in a server container the first is All Events."""


_MET = frozenset({"{{Client Name}}"})
"""What a trigger may ask that is so here anyway: which client took the hit."""


class Unclear(Exception):
    """A value or trigger that has no meaning here; the message says why."""


@dataclass(slots=True)
class Fired:
    """The events that fire a tag, and what of its triggers was left behind."""

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Container:
    """A parsed export. Raises GatewayError for JSON that is none."""

    def __init__(self, export: Any) -> None:
        version = export.get("containerVersion", export) if isinstance(export, dict) else None
        if not isinstance(version, dict) or not isinstance(version.get("container"), dict):
            raise GatewayError("this is no container export: it has no containerVersion (GTM: Admin > Export container)")
        container = version["container"]
        self.name = str(container.get("publicId") or container.get("name") or "container")
        self.server = any(str(use).upper() == "SERVER" for use in container.get("usageContext") or ())
        self.tags = _objects(version, "tag")
        self._triggers = {str(one.get("triggerId")): one for one in _objects(version, "trigger")}
        self._variables = {str(one.get("name")): one for one in _objects(version, "variable")}
        self._templates = list(_templates(version))

    def template(self, kind: str) -> str:
        """The words by which a custom template (`cvt_…`) is known: its names and its repository, in lower case."""
        found = [words for ids, words in self._templates if kind in ids]
        return found[0] if found else ""

    def fired(self, tag: Fields) -> Fired:
        """What fires a tag."""
        fired = Fired()
        for number in tag.get("firingTriggerId") or ():
            try:
                self._fire(str(number), fired)
            except Unclear as error:
                fired.notes.append(str(error))
        if tag.get("blockingTriggerId"):
            fired.notes.append("its exceptions (blocking triggers) are not carried: write them as `when`")
        fired.names = list(dict.fromkeys(fired.names))
        return fired

    def _fire(self, number: str, fired: Fired) -> None:
        if number in _BUILT_IN_TRIGGERS:
            fired.names.append(EVERY if self.server else _BUILT_IN_TRIGGERS[number])
            return
        trigger = self._triggers.get(number)
        if trigger is None:
            raise Unclear(f"trigger {number} is not in the export")
        name, kind = str(trigger.get("name", number)), plain_type(trigger)
        if kind == "CUSTOMEVENT":
            fired.names += _event_names(trigger, name)
        elif kind in _FIRES:
            fired.names.append(_FIRES[kind])
        else:
            raise Unclear(f'trigger "{name}" ({trigger.get("type")}) has no event here: send one from the page')
        conditions = [*(trigger.get("filter") or ()), *(trigger.get("autoEventFilter") or ())]
        conditions = [one for one in conditions if parameters(one).get("arg0") not in _MET]
        if conditions:
            said = " and ".join(_condition(one) for one in conditions)
            fired.notes.append(f'trigger "{name}" also asks that {said}: not carried, write it as `when`')

    def constant(self, text: str) -> str:
        """A field as plain text. Raises Unclear where it is not the same for every event."""
        said = self.value(text)
        if "$" in said:
            raise Unclear(f"{text} is not the same for every event")
        return said

    def value(self, text: str) -> str:
        """A field as our mapping writes it: a path, a text, or a text with `${…}` in it. Raises Unclear."""
        whole = _HOLE.fullmatch(text.strip())
        if whole:
            return self._variable(whole[1].strip(), set())
        if "$" in _HOLE.sub("", text):
            raise Unclear(f"{text} holds a $, which begins an expression here")
        parts = []
        at = 0
        for hole in _HOLE.finditer(text):
            said = self._variable(hole[1].strip(), set())
            parts += [text[at : hole.start()], f"${{{said}}}" if said.startswith("$") else said]
            at = hole.end()
        return "".join([*parts, text[at:]])

    def _variable(self, name: str, seen: set[str]) -> str:
        variable = self._variables.get(name)
        if variable is None:
            if name in BUILT_IN:
                return BUILT_IN[name]
            raise Unclear(f"{{{{{name}}}}} is a built-in variable that is not read here, or not in the export")
        if name in seen:
            raise Unclear(f"{{{{{name}}}}} leads to itself")
        kind, given = str(variable.get("type")), parameters(variable)
        if kind == "c":
            return self._constant(str(given.get("value", "")), name, seen)
        if kind in ("v", "ed"):
            return path_of(str(given.get("name") or given.get("keyPath") or ""))
        raise Unclear(f"{{{{{name}}}}} is {_VARIABLES.get(kind, f'of type {kind}')}: put its value into the event")

    def _constant(self, text: str, name: str, seen: set[str]) -> str:
        inner = _HOLE.fullmatch(text)
        if inner:
            return self._variable(inner[1].strip(), seen | {name})
        if "$" in text or "{{" in text:
            raise Unclear(f"{{{{{name}}}}} is a text with a $ or a variable in it")
        return text


_VARIABLES = {
    "jsm": "custom JavaScript",
    "j": "a JavaScript variable of the page",
    "k": "a cookie",
    "u": "a part of the page's address",
    "f": "a part of the referrer",
    "d": "read from the page's elements",
    "smm": "a look-up table",
    "remm": "a table of regular expressions",
    "aev": "read from the clicked element",
    "rh": "a request header",
}


def parameters(thing: Fields) -> dict[str, Any]:
    """The parameters of a tag, variable or row of a table: text, lists and maps by key."""
    return {str(one.get("key")): _parameter(one) for one in thing.get("parameter") or () if isinstance(one, dict)}


def _parameter(one: Fields) -> Any:
    if isinstance(one.get("list"), list):
        return [_parameter(each) for each in one["list"] if isinstance(each, dict)]
    if isinstance(one.get("map"), list):
        return {str(each.get("key")): _parameter(each) for each in one["map"] if isinstance(each, dict)}
    return str(one.get("value", ""))


def path_of(path: str) -> str:
    """The path in our event of a path in the data layer. Raises Unclear."""
    plain = path.strip().removeprefix("ecommerce.").removeprefix("eventModel.")
    if plain in PATHS:
        return PATHS[plain]
    if not _PATH.fullmatch(plain):
        raise Unclear(f"the data layer path {path} is no name here")
    return f"$props.{plain}"


def plain_type(thing: Fields) -> str:
    """A trigger's type in one spelling."""
    return str(thing.get("type", "")).replace("_", "").upper()


def _event_names(trigger: Fields, name: str) -> list[str]:
    filters = [one for one in trigger.get("customEventFilter") or () if isinstance(one, dict)]
    if len(filters) != 1:
        raise Unclear(f'trigger "{name}" has no single event name')
    kind, given = plain_type(filters[0]), parameters(filters[0])
    wanted = str(given.get("arg1", ""))
    if str(given.get("negate", "false")).lower() == "true" or "{{" in wanted:
        raise Unclear(f'trigger "{name}" says which events it does not take')
    if kind == "EQUALS" and wanted:
        return [wanted]
    if kind == "MATCHREGEX":
        if wanted in (".*", ".+", "^.*$"):
            return [EVERY]
        if found := _ALTERNATIVES.fullmatch(wanted):
            return found[1].split("|")
    raise Unclear(f'trigger "{name}" takes the events that match {wanted}: name them one by one')


def _condition(one: Fields) -> str:
    given = parameters(one)
    word = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", str(one.get("type", ""))).lower()
    return f"{given.get('arg0', '?')} {word} {given.get('arg1', '?')}"


def _objects(version: Fields, key: str) -> list[Fields]:
    found = version.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _templates(version: Fields) -> Iterator[tuple[set[str], str]]:
    """(the tag types that a custom template may have, words that name it)."""
    for one in _objects(version, "customTemplate"):
        given = one.get("galleryReference")
        gallery: Fields = given if isinstance(given, dict) else {}
        data = str(one.get("templateData", ""))[:20_000]
        shown = re.search(r'"displayName"\s*:\s*"([^"]*)"', data)
        public = re.search(r'"id"\s*:\s*"(cvt_[^"]+)"', data)
        ids = {f"cvt_{one.get('containerId')}_{one.get('templateId')}"} | ({public[1]} if public else set())
        if template := gallery.get("galleryTemplateId"):
            ids.add(f"cvt_{template}")
        words = [one.get("name"), shown[1] if shown else "", gallery.get("owner"), gallery.get("repository")]
        yield ids, " ".join(dict.fromkeys(str(word) for word in words if word)).lower()

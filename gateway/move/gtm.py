"""A Google Tag Manager container export, as JSON: its tags, and what else it holds.

Read are exports of the web interface and of the API alike (`CUSTOM_EVENT` and `customEvent` are one trigger type). Nothing of
the container is executed. What has no meaning here is an Unclear with its reason, never a guess. What fields mean is in
variables.py, what fires tags in triggers.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.errors import GatewayError
from gateway.move.triggers import Fired, Triggers
from gateway.move.variables import Fields, Variables, parameters

_CLIENTS = {
    "gaaw_client": "hits of gtag.js come in by themselves: docs/recipes/ga4.md",
    "mpaw_client": "the Measurement Protocol comes in by itself: docs/recipes/ga4.md",
    "ua_client": "Universal Analytics was switched off in 2024",
    "adm_client": "hits of Google Ads' tag have no meaning here",
}
"""Clients of a server container; here routes take their place."""


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
        self.variables = Variables(_objects(version, "variable"))
        self._triggers = Triggers(_objects(version, "trigger"), self.variables, server=self.server)
        self._templates = list(_templates(version))
        self._clients, self._zones = _objects(version, "client"), _objects(version, "zone")
        self._changes = _objects(version, "transformation")

    def template(self, kind: str) -> str:
        """The words by which a custom template (`cvt_…`) is known: its names and its repository, in lower case."""
        found = [words for ids, words in self._templates if kind in ids]
        return found[0] if found else ""

    def fired(self, tag: Fields) -> Fired:
        """What fires a tag."""
        return self._triggers.fired(tag)

    def constant(self, text: str) -> str:
        """A field as plain text. Raises Unclear where it is not the same for every event."""
        return self.variables.constant(text)

    def value(self, text: str) -> str:
        """A field as our mapping writes it: a path, a text, or a text with `${…}` in it. Raises Unclear."""
        return self.variables.value(text)

    def beside(self) -> Iterator[dict[str, str]]:
        """What the container holds beside tags and is not carried, each with its reason."""
        for one in self._clients:
            why = _CLIENTS.get(str(one.get("type"))) or self._client(one)
            yield _left("client", one, why)
        for one in self._changes:
            yield _left("transformation", one, _transformation(one))
        for one in self._zones:
            yield _left("zone", one, "it loads another container; export and import that one too")

    def _client(self, one: Fields) -> str:
        words = self.template(str(one.get("type")))
        if re.search(r"data[ -]client", words):
            return "Stape's Data Tag comes in by itself: docs/recipes/data-tag.md"
        return "what it takes in must be sent as one of the dialects that Tagway reads (README: Receiving)"


def _left(kind: str, one: Fields, why: str) -> dict[str, str]:
    return {"kind": kind, "name": str(one.get("name", "")), "type": str(one.get("type", "")), "why": why}


def _transformation(one: Fields) -> str:
    given, kind = parameters(one), str(one.get("type"))
    rows = [
        str(row.get("paramName") or row.get("name") or "")
        for value in given.values()
        if isinstance(value, list)
        for row in value
        if isinstance(row, dict)
    ]
    what = {
        "tf_exclude_params": "takes parameters out",
        "tf_allow_params": "lets only some parameters through",
        "tf_augment_event": "adds to events or changes them",
    }.get(kind, "changes events")
    named = f" ({', '.join(row for row in rows if row)})" if any(rows) else ""
    return f"it {what}{named} for the tags behind it: write it into the destinations' `events` or `defaults`"


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

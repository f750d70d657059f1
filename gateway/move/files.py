"""Drafts as destination files: in mode dry_run, secrets as references, events as the container sent them.

What an ad platform was not sent by the container is a tombstone (`view_item: null`), so that moving in sends no more than
before; a vendor's usual name for an event is left to its manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.config.tree import plain
from gateway.manifest import Manifest
from gateway.move.tags import Draft
from gateway.setup.files import code_settings, written_settings
from gateway.setup.keys import variable_of


def names(drafts: Sequence[Draft]) -> list[str]:
    """A file name per draft: the vendor's, numbered from the second account on."""
    seen: dict[str, int] = {}
    found = []
    for draft in drafts:
        vendor = draft.manifest.name
        seen[vendor] = seen.get(vendor, 0) + 1
        found.append(vendor if seen[vendor] == 1 else f"{vendor}_{seen[vendor]}")
    return found


def variables(name: str, draft: Draft) -> list[str]:
    """The environment variables that its file reads and that must be set."""
    return [reference for _, reference in _references(name, draft)]


def destination_file(name: str, draft: Draft, container: str, sources: Sequence[str]) -> str:
    """The file's text."""
    manifest = draft.manifest
    lines = [
        "# yaml-language-server: $schema=../.schema/destination.json",
        f"# {manifest.name}: {manifest.docs}",
        f"# Moved from {container}, {len(draft.tags)} {'tag' if len(draft.tags) == 1 else 'tags'}:",
        *(f"#   {' '.join(tag.split())}" for tag in draft.tags),
        f"type: {manifest.name}",
        "sources:",
        *(f"  - {source}" for source in sources),
        "mode: dry_run                            # rendered and shown, nothing leaves: docs/rollout.md",
        "",
        "settings:",
        *_settings(name, draft),
        *_consent(draft),
    ]
    if manifest.ads and draft.every:
        lines += ["", "unlisted: send                           # as the tag did: events without a standard name keep theirs"]
    if draft.tables:
        lines += ["", "tables:                                   # the container's look-up tables", *_yaml(draft.tables, "  ")]
    events = _events(draft)
    if events:
        lines += ["", "events:", *_yaml(events, "  ")]
    return "\n".join(lines) + "\n"


def _references(name: str, draft: Draft) -> Iterator[tuple[str, str]]:
    for setting in written_settings(draft.manifest):
        if setting == draft.setting and draft.account:
            continue
        if setting not in code_settings(draft.manifest) or draft.manifest.settings[setting].required:
            yield setting, variable_of(name, setting)
    if not draft.account and draft.setting not in written_settings(draft.manifest):
        yield draft.setting, variable_of(name, draft.setting)


def _settings(name: str, draft: Draft) -> Iterator[str]:
    if draft.account:
        yield f"  {draft.setting}: {json.dumps(draft.account)}"
    for setting, variable in _references(name, draft):
        yield f"  {setting}: ${{{variable}}}"
    if draft.role:
        words = (
            "augment: beside gtag.js on the page" if draft.role == "augment" else "replace: gtag.js sends to the gateway alone"
        )
        yield f"  role: {draft.role}                          # {words}"


def _consent(draft: Draft) -> Iterator[str]:
    own = draft.manifest.consent.requires
    more = [purpose for purpose in draft.requires if purpose not in own]
    if more:
        yield from ("", "consent:", "  requires:                              # the vendor's, and what the tags asked for")
        yield from (f"    - {purpose}" for purpose in [*own, *more])


def _events(draft: Draft) -> dict[str, Any]:
    known = _known(draft.manifest)
    events: dict[str, Any] = {}
    for event, name in draft.names.items():
        entry: dict[str, Any] = {}
        usual = _is_usual(known.get(event), event, name)
        if not usual:
            entry["name"] = name or event
        if draft.when.get(event):
            entry["when"] = draft.when[event]
        body = dict(draft.bodies.get(event, {}))
        if event not in known and draft.manifest.ads:
            entry.setdefault("name", event)
            body = _laid_over(_shape(known, name), body)
        if body:
            entry["body"] = body
        if entry:
            events[event] = entry
    if draft.manifest.ads and not draft.every:
        events.update({event: None for event, entry in known.items() if event != "*" and entry and event not in draft.names})
    return events


def _known(manifest: Manifest) -> dict[str, Any]:
    found = plain(manifest.tree.get("events") or {})
    return dict(found) if isinstance(found, dict) else {}


def _is_usual(entry: Any, event: str, name: str) -> bool:
    """Whether a vendor's name for an event is what the manifest calls it anyway."""
    if not name:
        return True
    usual = str(entry.get("name", "")) if isinstance(entry, dict) else event
    return usual.lower() == name.lower() or f"'{name.lower()}'" in usual.lower()


def _shape(known: dict[str, Any], name: str) -> dict[str, Any]:
    """The body of the manifest's own event of that name, else of any event."""
    entries = [entry for entry in known.values() if isinstance(entry, dict)]
    same = [entry for entry in entries if name and str(entry.get("name", "")).lower() == name.lower()]
    body = (same or [known.get("*") or {}])[0].get("body")
    return dict(body) if isinstance(body, dict) else {}


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two shapes as one; maps merge by key."""
    merged = dict(below)
    for key, value in above.items():
        other = merged.get(key)
        merged[key] = _laid_over(other, value) if isinstance(other, dict) and isinstance(value, dict) else value
    return merged


def _yaml(tree: dict[str, Any], indent: str) -> Iterator[str]:
    """A tree of maps, lists and texts in block style."""
    for key, value in tree.items():
        name = (
            key
            if key.isidentifier() and key.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
            else json.dumps(key)
        )
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _yaml(value, indent + "  ")
        else:
            yield f"{indent}{name}: {'null' if value is None else json.dumps(value, ensure_ascii=False)}"

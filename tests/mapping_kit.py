"""Small manifests and customer files from YAML text, compiled like real ones."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.config.models import DestinationConfig
from gateway.config.tree import MarkedMap
from gateway.config.yaml_file import parse_map
from gateway.destination import Batch, Part, Reply
from gateway.errors import ConfigErrors
from gateway.event import Event
from gateway.manifest import Manifest
from gateway.mapping import CompiledPlan, compile_plan
from gateway.meter import Meter

NOW = 1795514460.0
"""2026-11-24T10:01:00Z, a minute after the events."""

HEAD = {
    "name": "name: acme",
    "category": "category: analytics",
    "docs": "docs: https://acme.example/docs",
    "confirms": "confirms: event",
    "consent": "consent: {requires: [analytics_storage]}",
    "endpoint": "endpoint: {url: https://api.acme.example/v3/events}",
    "settings": "settings: {pixel_id: {type: str}, token: {type: str, secret: true}, table: {type: map}, keys: {type: list}}",
}
SETTINGS = {"pixel_id": "p-1", "token": SecretStr("sesame-open"), "table": {"a": "A"}, "keys": ["a", "c"]}


class Nulls(Meter):
    """Remembers which fields a function gave null for."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def mapping_null(self, destination: str, field: str) -> None:
        self.seen.append((destination, field))


def manifest_of(text: str, file: str = "destinations/acme.yaml") -> Manifest:
    """A manifest; the keys of HEAD that the text lacks are put before it, on one line so that line numbers stay."""
    body = textwrap.dedent(text).strip("\n")
    tree = parse_map(body + "\n", file) if body else MarkedMap(parse_map("a: b\n", file).mark)
    for key, line in HEAD.items():
        if key not in tree:
            given = parse_map(line + "\n", file)
            tree[key] = given[key]
            tree.marks[key] = given.marks[key]
    return Manifest.model_validate({**tree, "tree": tree})


def config_of(text: str = "", file: str = "configs/destinations/acme.yaml", **given: Any) -> DestinationConfig:
    """A customer's file; `given` are model fields, `settings` replaces SETTINGS."""
    body = textwrap.dedent(text).strip("\n")
    tree = parse_map(body + "\n", file) if body else MarkedMap(parse_map("a: b\n", file).mark)
    known = {"name": "acme", "type": "acme", "file": file, "sources": ["shop"], "settings": SETTINGS, "tree": tree}
    return DestinationConfig(**{**known, **given})


def plan_of(manifest: str, customer: str = "", *, meter: Meter | None = None, **given: Any) -> CompiledPlan:
    """A compiled plan. Raises ConfigErrors."""
    return compile_plan(manifest_of(manifest), config_of(customer, **given), meter=meter or Meter())


def problems_of(manifest: str, customer: str = "", **given: Any) -> list[str]:
    """Every problem as `file:line: message`; fails where there is none."""
    with pytest.raises(ConfigErrors) as caught:
        plan_of(manifest, customer, **given)
    assert all(problem.file for problem in caught.value.problems), caught.value.problems
    return [str(problem) for problem in caught.value.problems]


def event_of(name: str = "purchase", **data: Any) -> Event:
    """A canonical event of 2026-11-24 10:00; keyword arguments are sections."""
    fixed = {
        "v": 1,
        "id": "e-1",
        "time": "2026-11-24T10:00:00.000Z",
        "received": "2026-11-24T10:00:00.000Z",
        "source": "shop",
        "dialect": "json",
    }
    return Event({**fixed, "name": name, **data})


def parts_of(plan: CompiledPlan, event: Event, now: float = NOW) -> list[Part]:
    """The parts of an event that must have some."""
    parts = plan.parts(event, now)
    assert isinstance(parts, list), parts
    return parts


def shape_of(shape: str, *, meter: Meter | None = None, settings: Any = None, tables: str = "{}", **data: Any) -> Any:
    """What a body shape (YAML) makes of an event with this data."""
    body = textwrap.indent(textwrap.dedent(shape).strip("\n"), "      ")
    manifest = f"tables: {tables}\nevents:\n  purchase:\n    name: Purchase\n    body:\n{body}\n"
    plan = plan_of(manifest, meter=meter, settings=SETTINGS if settings is None else settings)
    return parts_of(plan, event_of(**data))[0].payload


def value_of(expression: str, *, meter: Meter | None = None, tables: str = "{}", **data: Any) -> Any:
    """What an expression gives (None where the field vanishes)."""
    quoted = expression.replace("\\", "\\\\").replace('"', '\\"')
    return shape_of(f'x: {{$keep: "{quoted}"}}', meter=meter, tables=tables, **data).get("x")


def batch_of(*parts: Part) -> Batch:
    """Parts that travel together; they must share an envelope."""
    assert len({part.envelope.key for part in parts}) == 1
    return Batch(parts[0].envelope, parts)


def reply_of(status: int, body: bytes | str = b"", error: str = "", **headers: str) -> Reply:
    """A reply; header names use underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, body.encode() if isinstance(body, str) else body, error)

"""The conformance cases: where they are, what a case is, and what being away means.

They lie beside the checkout and are not part of it (their licences differ): a developer without them skips with a message,
a build server fails.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.needs import missing

FOLDER = Path(__file__).parents[3] / "shared" / "conformance"
OPTIONAL = frozenset({"custom-mapping", "explicit-mapping"})
"""Tags of cases that test a peer's own mapping language: run and reported, not counted."""


@dataclass(frozen=True)
class Case:
    """One case: settings and an incoming event, and the requests a peer's suite expects (or a refusal)."""

    id: str
    destination: str
    config: dict[str, Any]
    event: dict[str, Any]
    requests: tuple[dict[str, Any], ...]
    rejected: str | None
    clock: str | None
    walker: bool
    tags: frozenset[str] = field(default=frozenset())

    @property
    def slug(self) -> str:
        """Its id as a name of a source or destination."""
        return self.id.replace("-", "_")

    @property
    def counts(self) -> bool:
        """Whether it belongs to the score."""
        return not self.tags & OPTIONAL

    @property
    def peer(self) -> str:
        """Whose suite it comes from: rudder, segment or walker."""
        return self.id.partition("-")[0]

    @property
    def action(self) -> str:
        """The peer's action that ran, or empty."""
        return str(self.config.get("action", ""))


def load(destination: str) -> list[Case]:
    """The open cases of one destination. Skips or fails the test when they are not there."""
    path = FOLDER / f"{destination}.json"
    if not path.is_file():
        missing(f"the conformance cases are not at {path}")
    return [_case(raw) for raw in json.loads(path.read_text())]


def _case(raw: dict[str, Any]) -> Case:
    return Case(
        id=raw["id"],
        destination=raw["destination"],
        config=raw["config"],
        event=raw.get("event") or raw["walker_event"],
        requests=tuple(raw["expect"].get("requests", ())),
        rejected=raw["expect"].get("rejected"),
        clock=raw.get("clock"),
        walker="walker_event" in raw,
        tags=frozenset(raw.get("tags", ())),
    )

"""The file and line that would change an outcome: what somebody who reads the page would have to edit.

Places come from the marks of the configuration's own trees, so they are where the value really stands: in the customer's
file, in a file it extends, in the vendor's manifest or in gateway.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config.models import Gateway
from gateway.config.tree import MarkedMap
from gateway.config.yaml_file import read_tree
from gateway.errors import ConfigErrors
from gateway.mapping import CompiledPlan
from gateway.outcomes import Ending, Outcome
from gateway.plans import Ready


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look, and what for. `file` is empty where no file would change it."""

    words: str
    file: str = ""
    line: int | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values; `place` is `file:line`."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return {"words": self.words, "place": where}


class Places:
    """Looks places up for one configuration."""

    def __init__(self, config: Gateway) -> None:
        self._config = config
        self._files: dict[str, MarkedMap | None] = {}

    def consent_rules(self, source: str) -> Place:
        """Where a source says which consent signals count."""
        file = self._config.file
        path: tuple[str, ...] = ("sources", source)
        tree = self._tree(file)
        folder = tree.get("sources") if tree is not None else None
        if isinstance(folder, str):
            file, path = str(Path(file).parent / folder / source / "site.yaml"), ()
        line = self._line(file, (*path, "consent"))
        return Place(f"which signals of {source} count, and what silence means", file, line)

    def gateway(self, *path: str) -> Place:
        """A key of gateway.yaml, or of the map nearest to it that is written."""
        return Place(".".join(path), self._config.file, self._line(self._config.file, path))

    def _line(self, file: str, path: tuple[str, ...]) -> int | None:
        tree, line = self._tree(file), None
        for key in path:
            if not isinstance(tree, MarkedMap) or key not in tree:
                break
            line = tree.marks[key].line if key in tree.marks else line
            tree = tree[key]
        return line

    def _tree(self, file: str) -> MarkedMap | None:
        if file not in self._files:
            try:
                self._files[file] = read_tree(Path(file))
            except (ConfigErrors, OSError):
                self._files[file] = None
        return self._files[file]

    def change(self, one: Ready, name: str, source: str, ending: Ending | None, *, tried_again: bool = False) -> list[Place]:
        """What would change this ending of an event of that name; for one that is sent: what made the request.

        `tried_again`: it is the last failure of an event that still waits, which a vendor's own trouble need not change.
        """
        if ending is None or ending.outcome is Outcome.DELIVERED:
            return [rule(one, name, "this rule made the request")]
        if ending.reason == "consent":
            needs = customer(one, "consent", "requires") or manifest(one, "consent", "requires")
            words = f"{one.config.name} asks for {', '.join(one.need.requires) or 'no purpose'}"
            return [Place(words, *(needs or (one.config.file, None))), self.consent_rules(source)]
        if ending.outcome in (Outcome.REJECTED, Outcome.DEAD):
            return [] if tried_again and ending.reason == "vendor_code" else _failed(one, name, ending)
        if ending.outcome is Outcome.EXPIRED and ending.reason != "age":
            return [self.gateway("queue", "retention")]
        return _skipped(one, name, ending)


def customer(one: Ready, *path: str) -> tuple[str, int] | None:
    """Where the customer's file says something; None where it leaves it to the manifest."""
    return _mark(one.config.tree, path)


def manifest(one: Ready, *path: str) -> tuple[str, int] | None:
    """Where the vendor's manifest says something."""
    return _mark(one.manifest.tree, path)


def _mark(tree: Any, path: tuple[str, ...]) -> tuple[str, int] | None:
    mark = None
    for key in path:
        if not isinstance(tree, MarkedMap) or key not in tree:
            return None
        mark, tree = tree.marks.get(key, mark), tree[key]
    return (mark.file, mark.line) if mark else None


def rule(one: Ready, name: str, words: str) -> Place:
    """The mapping's rule for an event name."""
    tree = one.plan.tree if isinstance(one.plan, CompiledPlan) else None
    found = _mark(tree, ("events", name)) or _mark(tree, ("events", "*")) or _mark(tree, ("events",))
    return Place(words, *(found or (one.config.file, None)))


def _failed(one: Ready, name: str, ending: Ending) -> list[Place]:
    file = one.config.file
    if ending.reason == "auth":
        return [Place("the vendor's token or its rights", *(customer(one, "settings") or (file, None)))]
    if ending.reason == "rate":
        return [Place("how fast events are sent: limits.rps", *(customer(one, "limits") or (file, None)))]
    if ending.reason in ("vendor_5xx", "timeout", "connect", "dns", "tls"):
        where = customer(one, "endpoint") or manifest(one, "endpoint") or (file, None)
        return [Place("nothing in the mapping: the vendor, or the way to it; this is where it is addressed", *where)]
    return [rule(one, name, "this rule made the request that was refused")]


def _skipped(one: Ready, name: str, ending: Ending) -> list[Place]:
    file = one.config.file
    where: tuple[str, int] | None
    keys = {"bot": ("bots", "bots.max_score"), "share": ("share", "share"), "mode": ("mode", "mode")}
    if ending.reason in keys:
        key, words = keys[ending.reason]
        return [Place(words, *(customer(one, key) or (file, None)))]
    if ending.reason == "loop":
        return [Place("when the page itself has sent it: loop", *(manifest(one, "loop") or (file, None)))]
    if ending.reason == "age":
        where = customer(one, "limits", "max_age") or manifest(one, "limits", "max_age")
        return [Place("the age that is still sent: limits.max_age", *(where or (file, None)))]
    if ending.reason == "filter":
        where = customer(one, "when") if "`when`" in ending.detail else customer(one, "events", name)
        return [Place("the condition or rule that leaves it out", *(where or customer(one, "when") or (file, None)))]
    if ending.reason == "unmapped":
        return [Place(f"add {name} under events", *(customer(one, "events") or (file, None)))]
    if ending.reason == "incomplete":
        return [rule(one, name, "this rule requires what the event lacks")]
    return [Place("nothing: a person's choice, or an erasure")]

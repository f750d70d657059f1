"""From files to a Gateway, with every problem of a run in one ConfigErrors (design: "all problems in one run").

- `destinations:` is a folder of `<name>.yaml` files beside the file, or the destinations written inline by name.
- `sources:` is written inline by name, or a folder of sites: each of its sub-folders is a source named after the folder,
  with a `site.yaml` and its destination files. Such a destination is always called `<site>.<name>`, so that adding a site
  never renames another site's lane, and sends its own site's events only.
- `config_errors: hold` leaves out a source or destination that has errors and loads the rest; errors of gateway.yaml itself,
  and of every source at once, are always raised.

Order of checking: gateway.yaml, sources, destinations. Paths in messages are as given on the command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config.destinations import Surroundings, destination, written_secret
from gateway.config.models import Admin, DestinationConfig, Gateway, Held, Source
from gateway.config.references import References, Referred
from gateway.config.source_files import SourceFiles, beside
from gateway.config.sources import Clashes, good_name, source, text_of, unnamed
from gateway.config.tree import MarkedMap, Scalar
from gateway.config.validate import UNWRITTEN, trap_problems, validated, without_echo
from gateway.config.warnings import warnings
from gateway.config.words import shown, suspicious
from gateway.errors import ConfigErrors, Problem

__all__ = ["load", "warnings"]

_REFERENCES = ("admin", "queue")
_PARTS = ("sources", "destinations")


def load(path: Path, env: Mapping[str, str] = os.environ, *, secrets: bool = True) -> Gateway:
    """The configuration in a gateway.yaml and the files it names.

    `secrets=False` lets variables and files that are not there pass, for a check in CI; their settings then hold the text of
    the reference. Raises ConfigErrors with all problems.
    """
    files = SourceFiles()
    tree = files.tree(str(path))
    run = _Run(files, References(env, files, needed=secrets), tree)
    return run.gateway()


@dataclass(slots=True)
class _Draft:
    """A source or destination on its way: where its tree came from and how messages call it."""

    name: str
    tree: MarkedMap | None
    at: str = ""
    site: str | None = None
    problems: list[Problem] = field(default_factory=list)


class _Run:
    """One load."""

    def __init__(self, files: SourceFiles, references: References, tree: MarkedMap) -> None:
        self.files, self.references, self.tree = files, references, tree
        self.file = tree.mark.file
        self.lab = text_of(tree.get("lab")) == "true"
        self.hold = text_of(tree.get("config_errors")) == "hold"
        self.problems: list[Problem] = []
        self.held: list[Held] = []

    def gateway(self) -> Gateway:
        """Everything, or ConfigErrors."""
        top = self._top()
        site_sources, site_destinations = self._sites()
        source_drafts = site_sources or self._inline("sources", "source")
        sources = self._checked_sources(source_drafts)
        drafts = [*site_destinations, *self._destination_drafts()]
        names = [draft.name for draft in source_drafts]
        destinations = self._checked_destinations(drafts, names, set(sources))
        if not self.hold or not sources:
            self.problems += [problem for held in self.held for problem in held.problems]
        if self.problems or top is None:
            raise ConfigErrors(list(dict.fromkeys(self.problems)))
        return top.model_copy(
            update={
                "sources": sources,
                "destinations": destinations,
                "held": tuple(self.held),
                "hash": self.files.hash(),
                "files": tuple(self.files.watched),
            }
        )

    def _say(self, message: str, steps: tuple[str, ...] = ()) -> None:
        tree, mark = self.tree, None
        for step in steps:
            if isinstance(tree, MarkedMap) and step in tree:
                mark, tree = tree.marks[step], tree[step]
        self.problems.append(Problem(message, mark.file if mark else self.file, mark.line if mark else None))

    def _top(self) -> Gateway | None:
        """gateway.yaml without its sources and destinations."""
        for key in [key for key in self.tree if key in UNWRITTEN]:
            self._say(f"{key} is not a known key; remove it", (key,))
        tree = MarkedMap(self.tree.mark, {k: v for k, v in self.tree.items() if k not in UNWRITTEN}, self.tree.marks)
        for key in list(tree):
            if key in _REFERENCES:
                tree[key] = self.references.replaced(tree[key], key)
            elif key not in _PARTS:
                self.references.refuse(MarkedMap(tree.mark, {key: tree[key]}, {key: tree.marks[key]}), "")
        said = self.references.take_problems()
        own = MarkedMap(tree.mark, {k: _known(v) for k, v in tree.items() if k not in _PARTS}, tree.marks)
        top, found = validated(Gateway, own, given={"file": self.file, "sources": {}})
        for key in own:
            if key not in Gateway.model_fields:  # nobody declared it: say what YAML makes of NO and its like
                found += trap_problems(own[key], key, own.marks[key], values=False)
        self.problems += [*said, *without_echo(found, said)]
        self._admin(own, top)
        top = self._with_lookups(top) if top else None
        self.problems = _by_line(self.problems)
        return top

    def _with_lookups(self, top: Gateway) -> Gateway:
        """Its files of addresses, found from gateway.yaml and watched from now on. What is in them is not looked at here."""
        database, datacentres = top.geo.database, top.bots.datacentres
        if database is not None:
            database = self._lookup(database, ("geo", "database"))
        datacentres = [self._lookup(name, ("bots", "datacentres")) for name in datacentres]
        geo = top.geo.model_copy(update={"database": database})
        return top.model_copy(update={"geo": geo, "bots": top.bots.model_copy(update={"datacentres": datacentres})})

    def _lookup(self, name: str, steps: tuple[str, ...]) -> str:
        place = beside(self.tree.mark, name)
        self.files.watched[place] = None
        if self.references.needed and not os.path.isfile(place):
            self._say(f"{'.'.join(steps)}: there is no file {' '.join(place.split())}", steps)
        return place

    def _admin(self, tree: MarkedMap, top: Gateway | None) -> None:
        written: Any = tree.get("admin")
        token = written.get("token") if isinstance(written, MarkedMap) else None
        if not self.lab and (why := written_secret(token, "TAGWAY_ADMIN_TOKEN")):
            self._say(f"admin.token {why}", ("admin", "token"))
        admin = validated(Admin, written)[0] if isinstance(written, MarkedMap) else None
        if admin and not admin.loopback and not admin.token.get_secret_value():
            words = f"admin.listen is {admin.listen}, beyond this machine, and admin.token is empty; set a token"
            self._say(words, ("admin", "listen"))
        if top is None:
            return
        listeners = {"listen": top.listen, "admin.listen": top.admin.listen, "metrics.listen": top.metrics.listen}
        seen: dict[str, str] = {}
        for key, address in listeners.items():
            other = seen.setdefault(address, key)
            if other != key and not address.endswith(":0"):
                self._say(f"{key} is {address}, which {other} has already", tuple(key.split(".")))

    def _inline(self, part: str, what: str) -> list[_Draft]:
        """`sources:` or `destinations:` written in gateway.yaml."""
        written = self.tree.get(part)
        if not isinstance(written, MarkedMap):
            return []
        drafts = []
        for name, mark in written.marks.items():
            tree = written[name]
            draft = _Draft(str(name), MarkedMap(mark) if tree is None else tree, f"{part}.{name}")
            if wrong := suspicious(name):
                draft.problems.append(Problem(f"{part}.{name} {wrong}", mark.file, mark.line))
            elif not good_name(name):
                draft.problems.append(Problem(unnamed(name, f"the {what}"), mark.file, mark.line))
            if not isinstance(draft.tree, MarkedMap):
                draft.problems.append(Problem(f"{part}.{name} must be a map of keys", mark.file, mark.line))
                draft.tree = None
            drafts.append(draft)
        return drafts

    def _sites(self) -> tuple[list[_Draft], list[_Draft]]:
        """`sources: sites/`: drafts of the sources and of their destinations."""
        written = self.tree.get("sources")
        if isinstance(written, MarkedMap) and written:
            return [], []
        if not isinstance(written, Scalar):
            self._say("sources is missing; name at least one site, app or tenant that may send", ("sources",))
            return [], []
        folder = beside(self.tree.marks["sources"], written)
        sources, destinations = [], []
        for name in self._listed(folder, "sources"):
            place = os.path.join(folder, name)
            if not os.path.isdir(place):
                self.problems.append(Problem("is not read: a site is a folder with a site.yaml", place))
                continue
            sources.append(self._read(os.path.join(place, "site.yaml"), name, None))
            stems = self._yaml_names(place, "sources")
            destinations += [
                self._read(os.path.join(place, f"{stem}.yaml"), f"{name}.{stem}", name) for stem in stems if stem != "site"
            ]
        if not sources:
            self._say(f"sources: {shown(folder)} holds no site", ("sources",))
        return sources, destinations

    def _destination_drafts(self) -> list[_Draft]:
        written = self.tree.get("destinations")
        if not isinstance(written, Scalar):
            if written is not None and not isinstance(written, MarkedMap):
                self._say("destinations must be a folder, or a map of destinations by name", ("destinations",))
            return self._inline("destinations", "destination")
        folder = beside(self.tree.marks["destinations"], written)
        stems = self._yaml_names(folder, "destinations")
        return [self._read(os.path.join(folder, f"{stem}.yaml"), stem, None) for stem in stems]

    def _listed(self, folder: str, key: str) -> list[str]:
        try:
            return self.files.folder(folder)
        except ConfigErrors as error:
            self._say(f"{key}: {shown(folder)} {error.problems[0].message}", (key,))
            return []

    def _yaml_names(self, folder: str, key: str) -> list[str]:
        """The stems of the *.yaml files in a folder; a file that looks like one but is not read is a problem."""
        stems = []
        for name in self._listed(folder, key):
            stem, extension = os.path.splitext(name)
            if extension == ".yaml":
                stems.append(stem)
            elif extension.lower() in (".yml", ".yaml", ".json"):
                self.problems.append(Problem(f"is not read; rename it to {stem}.yaml", os.path.join(folder, name)))
        return stems

    def _read(self, shown: str, name: str, site: str | None) -> _Draft:
        draft = _Draft(name, None, site=site)
        if not all(good_name(part) for part in name.split(".", 1 if site else 0)):
            draft.problems.append(Problem(unnamed(name, "the destination" if "." in name else "the file"), shown))
        try:
            draft.tree = self.files.extended(shown)
        except ConfigErrors as error:
            draft.problems += error.problems
        return draft

    def _checked_sources(self, drafts: list[_Draft]) -> dict[str, Source]:
        clashes = Clashes()
        good: dict[str, Source] = {}
        for draft in drafts:
            found: Source | None = None
            if draft.tree is not None:
                found, problems = self._extended_source(draft, draft.tree)
                draft.problems += problems
            if found is not None and draft.tree is not None:
                draft.problems += clashes.of(draft.name, found, draft.tree, draft.at)
            if found is not None and not draft.problems:
                good[draft.name] = found
            else:
                self.held.append(Held("source", draft.name, tuple(_by_line(draft.problems))))
        return good

    def _extended_source(self, draft: _Draft, tree: MarkedMap) -> tuple[Source | None, list[Problem]]:
        try:
            draft.tree = self.files.resolve(tree)
        except ConfigErrors as error:
            return None, list(error.problems)
        return source(draft.name, draft.tree, self.references, lab=self.lab, at=draft.at)

    def _checked_destinations(
        self, drafts: list[_Draft], sources: list[str], good_sources: set[str]
    ) -> dict[str, DestinationConfig]:
        good: dict[str, DestinationConfig] = {}
        for draft in drafts:
            found: DestinationConfig | None = None
            if draft.tree is not None:
                found, problems = self._one_destination(draft, draft.tree, sources)
                draft.problems += problems
            sending = [name for name in found.sources if name in good_sources] if found else []
            if found is not None and sending and not draft.problems:
                good[draft.name] = found.model_copy(update={"sources": sending})
                continue
            if found is not None and not sending and self.hold:
                draft.problems.append(Problem("every source that may send here is left out, so this is too", found.file))
            self.held.append(Held("destination", draft.name, tuple(_by_line(draft.problems))))
        return good

    def _one_destination(
        self, draft: _Draft, tree: MarkedMap, sources: list[str]
    ) -> tuple[DestinationConfig | None, list[Problem]]:
        try:
            tree = self.files.resolve(tree)
        except ConfigErrors as error:
            return None, list(error.problems)
        allowed = [draft.site] if draft.site else sources
        found, problems = destination(draft.name, tree, Surroundings(allowed, self.lab, self.references))
        return found, [_under(draft, tree, problem) for problem in problems]


def _under(draft: _Draft, tree: MarkedMap, problem: Problem) -> Problem:
    """A problem of a destination that is written in gateway.yaml says of which one."""
    if not draft.at or problem.file is None:
        return problem
    return Problem(f"{draft.at}: {problem.message}", problem.file, problem.line or tree.mark.line)


def _known(value: Any) -> Any:
    """A part of gateway.yaml without what is not set in a check without secrets, and without empty values."""
    if not isinstance(value, MarkedMap):
        return value
    kept = {k: _known(v) for k, v in value.items() if not isinstance(v, Referred) or k == "token" or (v and not v.missing)}
    return MarkedMap(value.mark, kept, value.marks)


def _by_line(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.file or "", problem.line or 0))

"""One destination file: checked against its vendor's manifest, with settings made into values and secrets.

A secret is a reference; written out it is an error, except in the lab (`lab: true`, or an `endpoint` that is a loopback
address). What mappings are made of (defaults, blocks, tables, events, when, batch.wrap) is left for gateway/mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from gateway.config.addresses import is_loopback_literal
from gateway.config.models import DestinationConfig
from gateway.config.references import References, Referred
from gateway.config.tree import Mark, MarkedList, MarkedMap, Scalar
from gateway.config.validate import UNWRITTEN, trap_problems, validated, without_echo
from gateway.config.words import hint, shown
from gateway.errors import ConfigErrors, Problem
from gateway.manifest import Manifest, SettingSpec, discover, load_manifest, settings_model

MAPPING_KEYS = ("defaults", "blocks", "tables", "events", "when", "batch")
_REFERENCES = ("settings", "endpoint")
_CREDENTIAL = re.compile("auth|key|token|secret|passw|cookie|credential", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a destination file is read among: `sources` are all that are configured, held ones too."""

    sources: Sequence[str]
    lab: bool
    references: References


def destination(name: str, tree: MarkedMap, around: Surroundings) -> tuple[DestinationConfig | None, list[Problem]]:
    """The destination, or None with every problem. `tree` has its `extends` followed."""
    raw = MarkedMap(tree.mark, {k: v for k, v in tree.items() if k not in UNWRITTEN}, tree.marks)
    known = MarkedMap(tree.mark, dict(raw), tree.marks)
    said = [*_unwritten(tree), *_references(known, around.references)]
    problems: list[Problem] = []
    manifest, found = _manifest(tree)
    problems += found
    lab = around.lab or _sends_to_loopback(known, manifest)
    settings: dict[str, Any] = {}
    if manifest is not None:
        settings, found = _settings(manifest, known, name, lab, around)
        problems += found
    sources, found = _sources(tree, around.sources)
    problems += found
    given = {"name": name, "file": tree.mark.file, "tree": raw, "sources": sources, "settings": settings}
    config, found = validated(DestinationConfig, _without_missing(known), given=given)
    problems += _with_settings_hint(found, manifest)
    if config is not None and manifest is not None:
        problems += _fits(config, manifest, known)
    problems = [*said, *without_echo(problems, said)]
    return (None, problems) if problems else (config, [])


def _sends_to_loopback(tree: MarkedMap, manifest: Manifest | None) -> bool:
    """Whether the endpoint, or the setting that is one, is a loopback address written out."""
    settings = tree.get("settings")
    urls = [key for key, spec in manifest.settings.items() if spec.format == "url"] if manifest else []
    written = [settings.get(key) for key in urls] if isinstance(settings, MarkedMap) else []
    return any(isinstance(url, Scalar) and is_loopback_literal(url) for url in (tree.get("endpoint"), *written))


def _unwritten(tree: MarkedMap) -> list[Problem]:
    remedies = {"name": "a destination is named after its file", "file": "a destination is named after its file"}
    return [
        Problem(f"{key} is not a known key; {remedies.get(key, 'remove it')}", mark.file, mark.line)
        for key, mark in tree.marks.items()
        if key in UNWRITTEN and key in tree
    ]


def _references(tree: MarkedMap, references: References) -> list[Problem]:
    """Replaces references in place where they are read, and refuses them elsewhere."""
    for key in list(tree):
        if key in _REFERENCES:
            tree[key] = references.replaced(tree[key], key)
        elif key in MAPPING_KEYS:
            references.refuse_in_mapping(tree[key], key)
        else:
            references.refuse(MarkedMap(tree.mark, {key: tree[key]}, {key: tree.marks[key]}), "")
    return references.take_problems()


def _without_missing(tree: MarkedMap) -> MarkedMap:
    """Without an endpoint that is not known in a check without secrets."""
    value = tree.get("endpoint")
    if not isinstance(value, Referred) or (value and not value.missing):
        return tree
    return MarkedMap(tree.mark, {k: v for k, v in tree.items() if k != "endpoint"}, tree.marks)


def _manifest(tree: MarkedMap) -> tuple[Manifest | None, list[Problem]]:
    wanted = tree.get("type")
    if wanted is None:
        return None, []  # the model says that it is missing
    mark = tree.marks["type"]
    if not isinstance(wanted, Scalar):
        return None, []
    if wanted not in (vendors := discover()):
        words = f'type "{shown(wanted)}" is not a destination{hint(wanted, vendors, lead="there are")}'
        return None, [Problem(words, mark.file, mark.line)]
    try:
        return load_manifest(str(wanted)), []
    except ConfigErrors as error:
        return None, list(error.problems)


def _sources(tree: MarkedMap, known: Sequence[str]) -> tuple[list[str], list[Problem]]:
    """The sources that may send here: named, or the only one there is."""
    written = tree.get("sources")
    if written is None:
        if len(known) == 1:
            return list(known), []
        listed = ", ".join(known)
        words = f"sources is missing and there are {len(known)} sources ({listed}); name the ones that may send here"
        return [], [Problem(words, tree.mark.file)] if known else []
    if not isinstance(written, MarkedList):
        mark = tree.marks["sources"]
        return [], [Problem("sources must be a list, for example [shop]", mark.file, mark.line)]
    problems = []
    names = [str(name) for name in written if isinstance(name, Scalar)]
    for name, mark in zip(written, written.marks, strict=True):
        if not isinstance(name, Scalar):
            problems.append(Problem("sources must be a list of names, for example [shop]", mark.file, mark.line))
        elif known and name not in known:
            problems.append(Problem(f'source "{shown(name)}" is not configured{hint(name, known)}', mark.file, mark.line))
    if not names and not problems:
        mark = tree.marks["sources"]
        problems.append(Problem("sources is empty; name the ones that may send here", mark.file, mark.line))
    return list(dict.fromkeys(names)), problems


def _settings(
    manifest: Manifest, tree: MarkedMap, name: str, lab: bool, around: Surroundings
) -> tuple[dict[str, Any], list[Problem]]:
    """The settings as values; in a check without secrets what is not set is its own reference."""
    written = tree.get("settings")
    if written is not None and not isinstance(written, MarkedMap):
        mark = tree.marks["settings"]
        return {}, [Problem("settings must be a map of keys", mark.file, mark.line)]
    settings = written if written is not None else MarkedMap(tree.mark)
    missing = {key for key, value in settings.items() if isinstance(value, Referred) and value.missing}
    # An empty value, as of ${NAME:-}, is none: the declared default holds.
    filled = {k: v for k, v in settings.items() if k not in missing and not (isinstance(v, Referred) and not v)}
    model = settings_model(manifest, without=missing & set(manifest.settings))
    known = MarkedMap(
        settings.mark, {**filled, **{k: v for k, v in settings.items() if k not in manifest.settings}}, settings.marks
    )
    result, problems = validated(model, known, at="settings", file=tree.mark.file)
    if "settings" in tree:
        mark = tree.marks["settings"]
        problems = [p if p.line else Problem(p.message, mark.file, mark.line) for p in problems]
    for key, spec in manifest.settings.items():
        if spec.type in ("list", "map") and not spec.secret and key in settings:
            problems += trap_problems(settings[key], f"settings.{key}", settings.marks[key])
    problems += _written_secrets(manifest, settings, name, lab)
    problems += [p for key in settings if (p := _plain_http(manifest, tree, settings, key))]
    values = {key: value for key, value in (result or ()) if value is not None}
    for key in missing & set(manifest.settings):
        spec, text = manifest.settings[key], str(settings[key])
        value = SecretStr(text) if spec.secret else text
        values[key] = [value] if spec.type == "list" else value
    return values, problems


def _written_secrets(manifest: Manifest, settings: MarkedMap, name: str, lab: bool) -> list[Problem]:
    if lab:
        return []
    problems = []
    for key, spec in manifest.settings.items():
        if spec.secret:
            for value, path in _leaves(settings.get(key), f"settings.{key}"):
                if spec.type == "map" and not _CREDENTIAL.search(path.rpartition(".")[2]):
                    continue
                variable = re.sub("[^A-Z0-9]+", "_", f"{name}_{path.removeprefix('settings.')}".upper()).strip("_")
                if (why := written_secret(value, variable)) is not None:
                    problems.append(Problem(f"{path} {why}", value.mark.file, value.mark.line))
    return problems


def written_secret(value: Any, variable: str) -> str | None:
    """Why a scalar in the place of a secret is refused, or None for a reference (or nothing at all)."""
    if not isinstance(value, Scalar) or value == "":
        return None
    remedy = f"write ${{{variable}}} and set it in the environment, or use ${{file:/run/secrets/…}}"
    if not isinstance(value, Referred):
        return f"is a secret written in the file; {remedy}"
    return f"has a default, which is a secret written in the file; {remedy}" if value.literal else None


def _leaves(node: Any, path: str) -> Iterable[tuple[Any, str]]:
    if isinstance(node, MarkedMap):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(node, MarkedList):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{path}[{index}]")
    elif node is not None:
        yield node, path


def _plain_http(manifest: Manifest, tree: MarkedMap, settings: MarkedMap, key: str) -> Problem | None:
    """A URL setting is https, unless the file allows http or the host is a loopback address written out."""
    spec: SettingSpec | None = manifest.settings.get(key)
    value = settings[key]
    if spec is None or spec.format != "url" or not isinstance(value, Scalar) or (isinstance(value, Referred) and value.missing):
        return None
    mark: Mark = settings.marks[key]
    if not value.startswith(("https://", "http://")):
        return Problem(f"settings.{key} must be an address that begins with https://", mark.file, mark.line)
    allowed = value.startswith("https://") or is_loopback_literal(value) or str(tree.get("allow_http")).lower() == "true"
    return None if allowed else Problem(f"settings.{key} is plain http; use https, or allow_http: true", mark.file, mark.line)


def _with_settings_hint(problems: list[Problem], manifest: Manifest | None) -> list[Problem]:
    """A setting that was written beside `settings` is told where it belongs."""
    if manifest is None:
        return problems
    result = []
    for problem in problems:
        key, _, rest = problem.message.partition(" ")
        if rest.startswith("is not a known key") and key in manifest.settings:
            problem = Problem(f"{key} is not a known key here; write it under settings", problem.file, problem.line)
        result.append(problem)
    return result


def _fits(config: DestinationConfig, manifest: Manifest, tree: MarkedMap) -> list[Problem]:
    """What the vendor cannot do."""
    problems = []
    marks = getattr(tree.get("consent"), "marks", {})
    if config.mode == "test" and manifest.test is None:
        mark = tree.marks["mode"]
        words = f"mode: test cannot be: {manifest.name} has no test facility; write dry_run to send nothing"
        problems.append(Problem(words, mark.file, mark.line))
    if config.consent.on_denied == "anonymous" and manifest.consent.anonymous is None:
        words = f"consent.on_denied: {manifest.name} has no anonymous form; write skip"
        problems.append(Problem(words, marks["on_denied"].file, marks["on_denied"].line))
    if config.consent.on_opt_out == "limit" and manifest.consent.limit is None:
        words = f"consent.on_opt_out: {manifest.name} has no limited-data flag; write skip"
        problems.append(Problem(words, marks["on_opt_out"].file, marks["on_opt_out"].line))
    if config.endpoint and config.endpoint.startswith("http://"):
        mark = tree.marks["endpoint"]
        if not config.allow_http and not is_loopback_literal(config.endpoint):
            problems.append(Problem("endpoint is plain http; use https, or allow_http: true", mark.file, mark.line))
    return problems

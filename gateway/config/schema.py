"""JSON Schemas of what people write, for editors: `tagway schema gateway|destination|event|manifest`.

They are made from the models that load the files, so they cannot drift. They are a little wider than the loader, since an
editor sees YAML's types: text may be written as a number, a number as `${NAME}`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from gateway import event
from gateway.config.models import DestinationConfig, Gateway, Source
from gateway.config.validate import UNWRITTEN
from gateway.manifest import Manifest, SettingSpec, discover, load_manifest

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT = {"type": ["string", "number", "boolean"]}
_REFERENCE = {"type": "string", "pattern": r"^\$\{.+\}$"}


def schema(what: str) -> dict[str, Any]:
    """The schema called gateway, destination, event or manifest. Raises KeyError for another name."""
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "gateway": _gateway,
        "destination": _destination,
        "event": event.json_schema,
        "manifest": _manifest,
    }
    return {"$schema": DIALECT, **makers[what]()}


def _of(model: type[BaseModel]) -> dict[str, Any]:
    """A model's schema as written in YAML, without the fields that no file may hold."""
    made = _as_written(model.model_json_schema(by_alias=True))
    for name in UNWRITTEN if model in (Gateway, DestinationConfig) else ("tree",):
        made["properties"].pop(name, None)
        if name in made.get("required", []):
            made["required"].remove(name)
    for name in ("Held", "Problem"):
        made.get("$defs", {}).pop(name, None)
    return made


def _as_written(node: dict[str, Any]) -> dict[str, Any]:
    """A schema with its text types widened to what the loader takes, without what does not help an editor."""
    made: dict[str, Any] = {}
    for name, value in node.items():
        if name in ("properties", "$defs"):
            made[name] = {field: _as_written(inner) for field, inner in value.items()}
        elif isinstance(value, dict):
            made[name] = _as_written(value)
        elif isinstance(value, list):
            made[name] = [_as_written(item) if isinstance(item, dict) else item for item in value]
        elif name not in ("title", "default", "format", "writeOnly"):
            made[name] = value
    if made.get("type") == "string" and not made.keys() & {"enum", "const", "pattern"}:
        made.update(_TEXT)
    return made


def _gateway() -> dict[str, Any]:
    made = _of(Gateway)
    site = _of(Source)
    made["$defs"] |= site.pop("$defs", {})
    folder = {"type": "string", "description": "a folder, relative to this file"}
    inline = {"type": "object", "additionalProperties": {"type": "object", "required": ["type"]}}
    made["properties"]["sources"] = {"anyOf": [folder, {"type": "object", "minProperties": 1, "additionalProperties": site}]}
    made["properties"]["destinations"] = {"anyOf": [folder, inline]}
    made["required"] = ["sources"]
    return {"title": "Tagway gateway", **made}


def _destination() -> dict[str, Any]:
    base = _of(DestinationConfig)
    definitions = base.pop("$defs", {})
    extends = {"type": "string", "description": "another file whose keys these are laid over"}
    branches = [_branch(base, load_manifest(name), extends) for name in discover()]
    shared = {"required": ["extends"], "not": {"required": ["type"]}, "properties": {"extends": extends}}
    return {"title": "Tagway destination", "type": "object", "$defs": definitions, "oneOf": [*branches, shared]}


def _branch(base: dict[str, Any], manifest: Manifest, extends: dict[str, Any]) -> dict[str, Any]:
    """The destination file of one vendor."""
    made = copy.deepcopy(base)
    made["description"] = f"{manifest.name}: {manifest.docs}"
    made["required"] = ["type"]
    required = [name for name, spec in manifest.settings.items() if spec.required]
    made["properties"] |= {
        "type": {"const": manifest.name},
        "extends": extends,
        "settings": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: _setting(spec) for name, spec in manifest.settings.items()},
        },
    }
    whole: dict[str, Any] = {"properties": {"settings": {"required": required}}}
    if required:
        whole["required"] = ["settings"]
    made |= {"if": {"not": {"required": ["extends"]}}, "then": whole}
    return made


def _setting(spec: SettingSpec) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "str": _TEXT,
        "int": {"type": "integer"},
        "float": {"type": "number"},
        "bool": {"type": "boolean"},
        "list": {"type": ["array", "string"]},
        "map": {"type": "object"},
    }
    value: dict[str, Any] = {"enum": list(spec.enum)} if spec.enum else dict(kinds[spec.type])
    made: dict[str, Any] = {"anyOf": [value, _REFERENCE, {"type": "null"}]}
    if spec.help:
        made["description"] = spec.help
    return made


def _manifest() -> dict[str, Any]:
    made = _of(Manifest)
    return {"title": "Tagway manifest", **made}

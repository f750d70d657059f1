"""What the product knows of one vendor: `destinations/<vendor>.yaml`, its manifest.

`discover()` walks the folder of the `destinations` package, so a vendor is added by adding files. `load_manifest()` reads
one strictly and checks what is static: name, category, version with its dates, settings, limits, de-duplication, consent,
batch. What holds expressions (endpoint, auth, defaults, events, blocks, tables, batch.wrap, response, test, loop, validate,
probe) stays a marked tree in `Manifest.tree`, which gateway/mapping compiles.

A manifest's `settings` become a pydantic model (`settings_model`) against which the customer's file is checked.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Set as AbstractSet
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from gateway.config.models import BatchLimits, Day, Purpose, Seconds
from gateway.config.strict import Strict
from gateway.config.tree import MarkedMap, Scalar, plain
from gateway.config.validate import validated
from gateway.config.words import hint
from gateway.config.yaml_file import read_tree
from gateway.errors import ConfigErrors, Problem

SettingType = Literal["str", "int", "float", "bool", "list", "map"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TYPES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "list": list[Any], "map": dict[str, Any]}


class Version(Strict):
    """Which API version the manifest speaks, since when it exists and when the vendor ends it (None: not announced)."""

    api: str
    since: Day | None = None
    ends: Day | None = None
    source: str | None = None


class SettingSpec(Strict):
    """One setting of a vendor.

    `format: url` is checked as an address; `pattern` is a regular expression for the whole text. In a map that is `secret`
    only what stands under a name of a credential (`Authorization`, `X-Api-Key`) must be a reference.
    """

    type: SettingType = "str"
    required: bool = False
    secret: bool = False
    default: Any = None
    enum: list[str] | None = None
    pattern: str | None = None
    min: float | None = None
    max: float | None = None
    format: Literal["url"] | None = None
    help: str | None = None

    @model_validator(mode="after")
    def _sensible(self) -> SettingSpec:
        if self.default is not None and (self.secret or self.required):
            raise ValueError("has a default, so it can be neither secret nor required")
        if self.enum is not None and self.type != "str":
            raise ValueError("has an enum, so its type must be str")
        if self.pattern is not None:
            _compiled(self.pattern)
        return self


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"has a pattern that is no regular expression: {error}") from None


class VendorLimits(Strict):
    """The vendor's own limits: how old an event may be, how far in the future, and how large."""

    max_age: Seconds | None = None
    future: Seconds | None = None
    max_event_bytes: int | None = Field(default=None, ge=1)
    rps: float | None = Field(default=None, gt=0)
    concurrency: int | None = Field(default=None, ge=1)


class Dedup(Strict):
    """The vendor's own de-duplication: by which fields, and for how long; `browser` is how its own tag says the same id."""

    keys: list[str] = Field(default_factory=list)
    window: Seconds | None = None
    browser: str | None = None


class VendorConsent(Strict):
    """What sending to this vendor needs; `limit` and `anonymous` are shapes for the event (marked trees)."""

    requires: list[Purpose] = Field(default_factory=list)
    limit: Any = None
    tcf_vendor: int | None = Field(default=None, ge=1)
    anonymous: Any = None


class Manifest(Strict):
    """A vendor's manifest; `tree` is the whole file as a marked tree."""

    name: str
    category: Literal["ads", "analytics", "crm", "attribution", "cdp", "messaging", "stream"]
    docs: str
    version: Version | None = None
    settings: dict[str, SettingSpec] = Field(default_factory=dict)
    limits: VendorLimits = VendorLimits()
    dedup: Dedup = Dedup()
    confirms: Literal["event", "request", "none"]
    consent: VendorConsent
    unlisted: Literal["skip", "send"] | None = None
    code: bool = False
    batch: BatchLimits = BatchLimits()
    endpoint: Any
    regions: Any = None
    auth: Any = None
    tables: Any = None
    blocks: Any = None
    defaults: Any = None
    require: Any = None
    check: Any = None
    events: Any = None
    test: Any = None
    response: Any = None
    loop: Any = None
    probe: Any = None
    validate_: Any = Field(default=None, alias="validate")
    tree: Any = None
    _built: type[BaseModel] | None = PrivateAttr(default=None)

    @field_validator("docs")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith("https://"):
            raise ValueError("must be the https:// address of the vendor's documentation")
        return value

    @property
    def ads(self) -> bool:
        """Whether it requires an ad purpose, so that an opt-out of sale applies to it."""
        return any(purpose.startswith("ad_") for purpose in self.consent.requires)

    @property
    def sends_unlisted(self) -> bool:
        """Whether events that the mapping does not list are sent by default: `unlisted`, else only not to ads."""
        return self.unlisted == "send" if self.unlisted else self.category != "ads"


@cache
def folder() -> Path:
    """Where the manifests are: the folder of the `destinations` package, in a checkout and in an installed wheel."""
    spec = importlib.util.find_spec("destinations")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise ConfigErrors([Problem("the package `destinations` is not installed")])
    return Path(places[0])


def discover() -> dict[str, Path]:
    """Every vendor with its manifest's path, by name in alphabetical order."""
    return {path.stem: path for path in sorted(folder().glob("*.yaml")) if not path.name.startswith(".")}


@lru_cache(maxsize=512)
def load_manifest(name: str) -> Manifest:
    """The manifest of a vendor. Raises ConfigErrors: an unknown vendor, or all problems of the file."""
    paths = discover()
    if name not in paths:
        raise ConfigErrors([Problem(f'"{name}" is not a destination{hint(name, paths, lead="there are")}')])
    return read_manifest(paths[name], f"destinations/{name}.yaml")


def read_manifest(path: Path, shown_as: str) -> Manifest:
    """The manifest in a file, whose name must be the vendor's. Raises ConfigErrors with all problems."""
    tree = read_tree(path, shown_as)
    manifest, problems = validated(Manifest, tree, given={"tree": tree})
    problems += _names(tree, path.stem)
    if manifest:
        problems += _defaults(manifest, tree)
    if problems or manifest is None:
        raise ConfigErrors(sorted(problems, key=lambda problem: problem.line or 0))
    return manifest


def _names(tree: MarkedMap, stem: str) -> list[Problem]:
    """The file's name decides, and names are what the rest of the product can use as metric labels and attributes."""
    problems = []
    if "tree" in tree:
        problems.append(Problem("tree is not a known key", tree.mark.file, tree.marks["tree"].line))
    name: Any = tree.get("name")
    settings: Any = tree.get("settings")
    if isinstance(name, str) and name != stem:
        problems.append(Problem(f'name is "{name}" and the file is {stem}.yaml', tree.mark.file, tree.marks["name"].line))
    for key, mark in settings.marks.items() if isinstance(settings, MarkedMap) else ():
        if not _NAME.fullmatch(key):
            message = f"settings.{key}: a setting's name has small letters, digits and underscores"
            problems.append(Problem(message, mark.file, mark.line))
    return problems


def _defaults(manifest: Manifest, tree: MarkedMap) -> list[Problem]:
    """Each default must pass the check that a customer's value passes."""
    problems = []
    for name, spec in manifest.settings.items():
        if spec.default is None:
            continue
        try:
            _model(manifest, [name]).model_validate({name: _default(spec)})
        except ValidationError as error:
            message = f"settings.{name}.default does not fit its own declaration ({error.errors()[0]['msg']})"
            problems.append(Problem(message, tree.mark.file, tree["settings"].marks[name].line))
    return problems


def settings_model(manifest: Manifest, *, without: AbstractSet[str] = frozenset()) -> type[BaseModel]:
    """A pydantic model of the `settings`: unknown keys are errors, secrets are SecretStr (also inside lists and maps).

    `without` names settings that are not asked for. The whole model is made once per manifest.
    """
    if without:
        return _model(manifest, [name for name in manifest.settings if name not in without])
    if manifest._built is None:
        manifest._built = _model(manifest, list(manifest.settings))
    return manifest._built


def _model(manifest: Manifest, names: list[str]) -> type[BaseModel]:
    specs = {name: manifest.settings[name] for name in names}
    fields: dict[str, Any] = {
        name: (_annotation(spec), ... if spec.required else _default(spec)) for name, spec in specs.items()
    }
    return create_model(f"{manifest.name}_settings", __base__=Strict, **fields)


def _default(spec: SettingSpec) -> Any:
    """A default as its type says; a scalar of the YAML file is still the text that was written."""
    if spec.type in ("list", "map"):
        return plain(spec.default)
    return str(spec.default) if isinstance(spec.default, Scalar) and spec.type == "str" else plain(spec.default)


def _annotation(spec: SettingSpec) -> Any:
    if spec.enum:
        kind: Any = Literal[tuple(spec.enum)]
    elif spec.secret:
        kind = {"list": list[SecretStr], "map": dict[str, SecretStr]}.get(spec.type, SecretStr)
    else:
        kind = _TYPES[spec.type]
    if spec.type == "list":
        kind = Annotated[kind, BeforeValidator(_one_or_more)]
    if spec.type in ("list", "map") and not spec.secret:
        kind = Annotated[kind, BeforeValidator(plain)]
    if spec.min is not None or spec.max is not None:
        kind = Annotated[kind, Field(ge=spec.min, le=spec.max)]
    if spec.pattern:
        kind = Annotated[kind, AfterValidator(_matcher(spec))]
    return kind if spec.required else kind | None


def _one_or_more(value: Any) -> Any:
    """A list setting takes a single text as a list of one."""
    return [value] if isinstance(value, str) else value


def _matcher(spec: SettingSpec) -> Any:
    pattern = _compiled(spec.pattern or "")

    def match(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not pattern.fullmatch(text):
            raise ValueError(f"does not look right{f' ({spec.help})' if spec.help else ''}: it must match {spec.pattern}")
        return value

    return match


def revealed(settings: Any) -> Any:
    """Settings with their secrets as plain text, for the one place that puts them into a request."""
    if isinstance(settings, SecretStr):
        return settings.get_secret_value()
    if isinstance(settings, dict):
        return {key: revealed(value) for key, value in settings.items()}
    return [revealed(value) for value in settings] if isinstance(settings, list) else settings


__all__ = ["Manifest", "discover", "load_manifest", "read_manifest", "revealed", "settings_model"]

"""From a configuration to compiled destinations: manifests loaded, mappings compiled, needs worked out, all errors at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config.models import DestinationConfig, Gateway
from gateway.consent.gate import Need, need_of
from gateway.destination import Destination, Plan
from gateway.errors import ConfigErrors, Problem
from gateway.manifest import Manifest, load_manifest
from gateway.mapping import compile_plan
from gateway.meter import Meter


@dataclass(frozen=True, slots=True)
class Ready:
    """One destination, ready to run."""

    config: DestinationConfig
    manifest: Manifest
    plan: Plan
    destination: Destination
    need: Need


def prepare(config: Gateway, meter: Meter | None = None) -> dict[str, Ready]:
    """Compile every destination. Raises ConfigErrors with the problems of all of them."""
    ready: dict[str, Ready] = {}
    problems: list[Problem] = []
    for name, one in config.destinations.items():
        try:
            ready[name] = prepare_one(one, meter or Meter())
        except ConfigErrors as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigErrors(problems)
    return ready


def prepare_one(config: DestinationConfig, meter: Meter) -> Ready:
    """Compile one destination. Raises ConfigErrors."""
    manifest = load_manifest(config.type)
    plan = compile_plan(manifest, config, meter=meter)
    return Ready(config, manifest, plan, _adapter(manifest)(plan), need_of(manifest, config))


def needs_by_source(config: Gateway, ready: Mapping[str, Ready]) -> dict[str, list[Need]]:
    """What the destinations that may send ask of consent, by source name."""
    needs: dict[str, list[Need]] = {name: [] for name in config.sources}
    for one in ready.values():
        for source in one.config.sources:
            needs[source].append(one.need)
    return needs


def _adapter(manifest: Manifest) -> type[Destination]:
    """The vendor's own Destination where its manifest says `code: true`, else the default."""
    if not manifest.code:
        return Destination
    module = importlib.import_module(f"destinations.{manifest.name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Destination) and value is not Destination
    ]
    if len(found) != 1:
        raise ConfigErrors([Problem(f"destinations/{manifest.name}.py must define exactly one Destination subclass")])
    return found[0]

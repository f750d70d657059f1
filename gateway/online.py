"""`tagway check --online`: asks each vendor what it offers to be asked, and changes nothing there.

- the manifest's `probe:`: whether settings and token are good
- else its `validate:`: whether a sample event would be taken (such an endpoint does not look at the token)
- else nothing: the answer says how to try

Every destination is asked at the same time, over the guarded transport of the lanes.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal

from gateway.config.models import DestinationConfig, Gateway
from gateway.deliver.firing import Recorder
from gateway.destination import Batch
from gateway.errors import GatewayError
from gateway.manifest import load_manifest
from gateway.mapping import CompiledPlan
from gateway.mapping.probe import Probe
from gateway.plans import Ready
from gateway.setup.samples import sample, site_of
from gateway.trial import arranged, carried, exchange, part_of, question


@dataclass(frozen=True, slots=True)
class Online:
    """What a vendor said. `wrong` fails a check; `unsure` and `nothing` do not."""

    destination: str
    answer: Literal["fine", "unsure", "wrong", "nothing"]
    words: str

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"destination": self.destination, "answer": self.answer, "words": self.words}


async def ask(config: Gateway) -> list[Online]:
    """Ask all destinations that are not off. The settings must be there."""
    return list(await asyncio.gather(*(_ask(config, one) for one in config.destinations.values() if one.mode != "off")))


async def _ask(config: Gateway, one: DestinationConfig) -> Online:
    manifest = load_manifest(one.type)
    try:
        ready = arranged(one, "validation", None)
        if isinstance(ready.plan, CompiledPlan) and ready.plan.probe is not None:
            return await _probed(ready, ready.plan.probe)
        if manifest.validate_ is not None:
            return await _validated(config, ready)
    except GatewayError as error:
        return Online(one.name, "unsure", str(error))
    except ValueError as error:
        return Online(one.name, "wrong", f"the settings make no request: {error}")
    way = f"tagway send purchase --to {one.name} {'--test CODE' if manifest.test is not None else '--dry-run'}"
    return Online(one.name, "nothing", f"{one.type} offers nothing to ask; try: {way}")


async def _probed(one: Ready, probe: Probe) -> Online:
    finding = probe.read(await carried(one, probe.request(time.time())))
    return Online(one.config.name, finding.answer, Recorder(one.config.name, one.config.settings).masked(finding.words))


async def _validated(config: Gateway, one: Ready) -> Online:
    source, now = one.config.sources[0], time.time()
    part = part_of(config, one, sample("page_view", site_of(config, source)), source, now)
    batch = Batch(part.envelope, (part,))
    done = await exchange(one, batch, "validation", question(one, batch, "validation", now))
    if done.good:
        return Online(one.config.name, "fine", "a sample event is what it takes; this endpoint does not look at the secret")
    return Online(one.config.name, "wrong" if done.complaints else "unsure", done.words)

"""One event to one vendor, now and outside the queue: what `tagway send` and `tagway check --online` do.

A trial never touches the store: nothing is logged, counted or tried again. It passes the same stages, consent among them, as
an event that comes in. Facilities, in the order of preference:

- `code`        the vendor's test facility (the manifest's `test:`), with the code of the person who looks
- `validation`  the vendor's validation endpoint (the manifest's `validate:`), which records nothing
- `here`        an endpoint on this machine, for example the lab's
- `live`        the real thing, only where it was asked for in so many words
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import SecretStr

from gateway.config.addresses import is_loopback_literal
from gateway.config.models import DestinationConfig, Gateway
from gateway.deliver.firing import Recorder
from gateway.deliver.transport import AiohttpTransport
from gateway.destination import Batch, Judgement, Part, Reply, Request, Verdict
from gateway.errors import GatewayError
from gateway.explain import is_canonical, stories_of_hit, story_of_event
from gateway.hit_file import native_hit
from gateway.manifest import Manifest, load_manifest, revealed
from gateway.meter import Meter
from gateway.observe.ledger import FAILURES
from gateway.plans import Ready, prepare_one
from gateway.setup.files import code_settings

Facility = Literal["code", "validation", "here", "live"]
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-.*)?\}|\$\{file:(.+)\}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what came back, with a verdict in words. `masked` texts hold no secret."""

    request: Request
    reply: Reply
    judgement: Judgement | None
    complaints: tuple[str, ...]
    words: str
    good: bool


def missing(config: DestinationConfig) -> list[str]:
    """The variables and files that the settings name and that are not there."""
    return [found[1] or found[3] for text in _texts(revealed(config.settings)) if (found := _REFERENCE.fullmatch(text))]


def facility(config: DestinationConfig, *, code: str | None, live: bool) -> Facility:
    """How a sample may be sent to this destination. Raises GatewayError, which says what to do."""
    manifest = load_manifest(config.type)
    if live:
        return "live"
    if code and manifest.test is not None:
        return "code"
    if manifest.validate_ is not None:
        return "validation"
    if _written_code(config, manifest) and config.mode == "test":
        return "code"
    if _on_this_machine(config):
        return "here"
    if manifest.test is None:
        raise GatewayError(
            f"{manifest.name} has no test facility: whatever is sent counts. Spell --live to send a sample all the same, "
            "or --dry-run to look at the request"
        )
    names = " and ".join(code_settings(manifest))
    helps = "; ".join(filter(None, (manifest.settings[name].help for name in code_settings(manifest))))
    raise GatewayError(
        f"without a test code the sample would count as a real event: give --test CODE ({helps}), "
        f"or set {names} with mode: test"
    )


def arranged(config: DestinationConfig, how: Facility, code: str | None) -> Ready:
    """The destination as the trial needs it: mode, code, every event validated. Raises ConfigErrors."""
    manifest = load_manifest(config.type)
    settings = dict(config.settings)
    if how == "code" and code:
        for name in code_settings(manifest):
            settings[name] = SecretStr(code) if manifest.settings[name].secret else code
    every = str((manifest.validate_ or {}).get("every", ""))
    if every.startswith("$setting."):
        settings[every.removeprefix("$setting.")] = 1
    mode = "test" if how == "code" else "live"
    return prepare_one(config.model_copy(update={"mode": mode, "share": 100.0, "settings": settings}), Meter())


def question(one: Ready, batch: Batch, how: Facility, now: float) -> Request:
    """The request of a trial. Raises GatewayError where the vendor's validation endpoint cannot be asked about it."""
    if how != "validation":
        return one.destination.request(batch, now)
    request = one.plan.validation(batch, now)
    if request is None:
        raise GatewayError(f"{one.config.name}: the validation endpoint cannot be asked about this event")
    return request


def part_of(config: Gateway, one: Ready, value: Any, source: str, now: float) -> Part:
    """A hit for /v1/events (or a stored event) as this destination would have it.

    Raises GatewayError with the reason where it would not be sent.
    """
    if source not in one.config.sources:
        raise GatewayError(f"{one.config.name} takes nothing from the source {source}; it has {', '.join(one.config.sources)}")
    ready = {one.config.name: one}
    if is_canonical(value):
        stories = [story_of_event(ready, value, now)]
    else:
        stories = stories_of_hit(config, ready, native_hit(orjson.dumps(value), config, source, now), now)
    if len(stories) != 1:
        raise GatewayError(f"there are {len(stories)} events; one at a time")
    if stories[0].refused:
        raise GatewayError(f"the event would be refused at the door: {stories[0].refused}")
    decision = stories[0].decisions[0]
    if decision.ending is not None:
        raise GatewayError(f"the event would not be sent: {decision.ending}. {decision.words}")
    return decision.parts[0]


async def exchange(one: Ready, batch: Batch, how: Facility, request: Request) -> Exchange:
    """Send one request and read the answer as a lane would. Raises GatewayError for a request that is not sendable."""
    reply = await carried(one, request)
    if how == "validation":
        return _validated(one, request, reply)
    judged = next(iter(one.destination.verdicts(reply, batch)))
    good = judged.verdict is Verdict.DELIVERED
    return Exchange(request, reply, judged, (), _words(one, judged, reply), good)


async def carried(one: Ready, request: Request) -> Reply:
    """One request, by the guarded transport that lanes use."""
    transport = AiohttpTransport(one.config)
    try:
        return await transport.send(request)
    except ValueError as error:
        raise GatewayError(f"the request cannot be sent: {error}") from None
    finally:
        await transport.close()


def _validated(one: Ready, request: Request, reply: Reply) -> Exchange:
    name = one.config.name
    if not 200 <= reply.status < 300:
        said = reply.error or f"HTTP {reply.status}"
        return Exchange(request, reply, None, (), f"{name}'s validation endpoint did not answer the question: {said}", False)
    hide = Recorder(name, one.config.settings).masked
    found = tuple(hide(words) for words in one.plan.complaints(reply))
    if found:
        return Exchange(request, reply, None, found, f"{name} would drop it: {'; '.join(found)}", False)
    return Exchange(request, reply, None, (), f"{name} finds nothing wrong with it; nothing was recorded", True)


def _words(one: Ready, judged: Judgement, reply: Reply) -> str:
    detail = Recorder(one.config.name, one.config.settings).masked(judged.detail)
    why = ": ".join(word for word in (FAILURES.get(judged.reason, ""), detail) if word)
    if judged.verdict is Verdict.DELIVERED:
        if one.manifest.confirms == "none":
            return f"sent; {one.config.type} answers {reply.status} to anything, so this proves nothing"
        return "accepted by the vendor"
    words = {
        Verdict.RETRY: "not taken now; a lane would try again",
        Verdict.PAUSE: "refused for who we are; a lane would pause until it is mended",
    }
    return f"{words.get(judged.verdict, 'refused for good')} ({why})" if why else words.get(judged.verdict, "refused for good")


def _written_code(config: DestinationConfig, manifest: Manifest) -> bool:
    """Whether the file itself has the code, so that `mode: test` marks what it sends."""
    names = code_settings(manifest)
    return bool(names) and all(revealed(config.settings.get(name)) for name in names)


def _on_this_machine(config: DestinationConfig) -> bool:
    if config.endpoint:
        return is_loopback_literal(config.endpoint)
    urls = [text for text in _texts(revealed(config.settings)) if text.startswith(("http://", "https://"))]
    return bool(urls) and all(is_loopback_literal(url) for url in urls)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)

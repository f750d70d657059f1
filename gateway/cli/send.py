"""`tagway send`: one sample event to a vendor's test facility; shows request and answer, never enters the queue."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import click
import orjson

from gateway.cli.common import config_option, json_file, json_option, load_config, print_json
from gateway.config.models import DestinationConfig, Gateway
from gateway.config.words import hint
from gateway.deliver.firing import Recorder
from gateway.deliver.transport import AiohttpTransport
from gateway.destination import Batch, Part
from gateway.errors import GatewayError
from gateway.event import load as load_event
from gateway.explain import Story, decisions, is_canonical, masked, stories_of_hit
from gateway.hit_file import native_hit
from gateway.plans import Ready
from gateway.setup.samples import EVENTS, sample
from gateway.trial import Exchange, Facility, arranged, exchange, facility, missing, question


@click.command()
@config_option
@json_option
@click.argument("name", default="purchase")
@click.option("--to", required=True, help="The destination, as its file is called.")
@click.option("--test", "code", help="The code of the vendor's test page; the event shows up there and counts nowhere.")
@click.option(
    "--file", "event_file", type=click.Path(dir_okay=False, path_type=Path), help="Your own event instead of a sample."
)
@click.option("--dry-run", is_flag=True, help="Show the request and send nothing.")
@click.option("--live", is_flag=True, help="Send it as a real event. It will count.")
@click.option("--source", help="The source it comes from; default: the destination's first.")
def send(config_path: Path | None, as_json: bool, name: str, to: str, **options: Any) -> None:
    """Send one sample event to a vendor's test facility, and show request and answer.

    \b
    tagway send purchase --to meta --test TEST12345
    tagway send page_view --to ga4                       asks the validation endpoint
    tagway send --file event.json --to tiktok --test CODE
    tagway send purchase --to webhook --dry-run

    The event is nobody's, passes the same stages as any other, and never enters
    the queue or the ledger. Exit 1 unless the vendor takes it.

    \b
    Samples: page_view view_item search add_to_cart begin_checkout add_payment_info purchase
             sign_up login generate_lead subscribe start_trial contact
    """
    config = load_config(config_path, secrets=False)
    target = _target(config, to)
    how = "live" if options["dry_run"] and not options["code"] else facility(target, code=options["code"], live=options["live"])
    if lacking := missing(target):
        raise GatewayError("\n".join(f"{one} is not set, and {target.file} needs it" for one in lacking))
    one = arranged(target, how, options["code"])
    part = _part(config, one, name, options)
    batch = Batch(part.envelope, (part,))
    now = time.time()
    request = question(one, batch, how, now)
    shown = masked(request, one)
    if options["dry_run"]:
        print_json({"request": shown}) if as_json else _print_request(shown, "would send")
        return
    if not as_json:
        _print_request(shown, "asks" if how == "validation" else "sends")
    done = asyncio.run(_exchange(one, batch, how, request))
    if as_json:
        print_json(_json(shown, one, done, how))
    else:
        _print_answer(one, done, how, options["code"])
    if not done.good:
        raise SystemExit(1)


def _target(config: Gateway, to: str) -> DestinationConfig:
    if to not in config.destinations:
        raise GatewayError(f"there is no destination {to}{hint(to, config.destinations, lead='there are')}")
    return config.destinations[to]


def _part(config: Gateway, one: Ready, name: str, options: dict[str, Any]) -> Part:
    """The event as this destination would have it. Raises GatewayError with the reason where it would not be sent."""
    source = options["source"] or one.config.sources[0]
    story = _story(config, one, name, source, options["event_file"])
    if story.refused:
        raise GatewayError(f"the event would be refused at the door: {story.refused}")
    if not story.decisions:
        raise GatewayError(f"{one.config.name} takes nothing from the source {source}; it has {', '.join(one.config.sources)}")
    decision = story.decisions[0]
    if decision.ending is not None:
        raise GatewayError(f"the event would not be sent: {decision.ending}. {decision.words}")
    return decision.parts[0]


def _story(config: Gateway, one: Ready, name: str, source: str, file: Path | None) -> Story:
    now = time.time()
    ready = {one.config.name: one}
    if file is None:
        origins = config.sources[source].origins if source in config.sources else []
        body = orjson.dumps(sample(name, origins[0] if origins else "https://shop.example", now))
    else:
        value = json_file(file)
        if is_canonical(value):
            event = load_event(orjson.dumps(value))
            return Story(event, (), decisions(ready, event, now))
        body = orjson.dumps(value)
    stories = stories_of_hit(config, ready, native_hit(body, config, source, now), now)
    if len(stories) != 1:
        raise GatewayError(f"the file holds {len(stories)} events; send takes one at a time")
    return stories[0]


async def _exchange(one: Ready, batch: Batch, how: Facility, request: Any) -> Exchange:
    transport = AiohttpTransport(one.config)
    try:
        return await exchange(one, batch, how, request, transport)
    finally:
        await transport.close()


def _print_request(shown: dict[str, Any], verb: str) -> None:
    click.echo(click.style(f"{verb}  ", bold=True) + f"{shown['method']} {shown['url']}")
    for header, value in shown["headers"].items():
        click.echo(f"       {header}: {value}")
    click.echo(_indented(shown["body"]))


def _print_answer(one: Ready, done: Exchange, how: Facility, code: str | None) -> None:
    status = done.reply.status or done.reply.error
    click.echo(click.style("answer ", bold=True) + f"{status} in {done.reply.ms:.0f} ms")
    click.echo(_indented(Recorder(one.config.name, one.config.settings).answer(done.reply)))
    click.echo(click.style("good   " if done.good else "bad    ", fg="green" if done.good else "red", bold=True) + done.words)
    if how == "validation":
        click.echo(f"       {one.config.type} answers 204 to anything it is sent, so only this endpoint tells.")
        if code:
            click.echo(f"       {one.config.type} has no test codes; --test was not used.")
    elif how == "code" and done.good:
        click.echo(f"       it shows on the vendor's test page (code {code or 'of the file'}) within a minute or so")


def _indented(text: str) -> str:
    with contextlib.suppress(orjson.JSONDecodeError):
        text = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    return "\n".join(f"       {line}" for line in text.splitlines())


def _json(shown: dict[str, Any], one: Ready, done: Exchange, how: Facility) -> dict[str, Any]:
    return {
        "destination": one.config.name,
        "how": how,
        "request": shown,
        "status": done.reply.status,
        "error": done.reply.error or None,
        "ms": round(done.reply.ms, 1),
        "answer": Recorder(one.config.name, one.config.settings).answer(done.reply),
        "verdict": str(done.judgement.verdict) if done.judgement else None,
        "complaints": list(done.complaints),
        "words": done.words,
        "good": done.good,
    }


__all__ = ["EVENTS", "send"]

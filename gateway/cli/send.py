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
from gateway.destination import Batch
from gateway.errors import GatewayError
from gateway.explain import masked
from gateway.plans import Ready
from gateway.setup.samples import sample, site_of
from gateway.trial import Exchange, Facility, arranged, exchange, facility, missing, part_of, question


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
    source, now = options["source"] or target.sources[0], time.time()
    part = part_of(config, one, _value(config, name, source, options["event_file"]), source, now)
    batch = Batch(part.envelope, (part,))
    request = question(one, batch, how, now)
    shown = masked(request, one)
    if options["dry_run"]:
        print_json({"request": shown}) if as_json else _print_request(shown, "would send")
        return
    if not as_json:
        _print_request(shown, "asks" if how == "validation" else "sends")
    done = asyncio.run(exchange(one, batch, how, request))
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


def _value(config: Gateway, name: str, source: str, file: Path | None) -> Any:
    return sample(name, site_of(config, source)) if file is None else json_file(file)


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

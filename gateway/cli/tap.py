"""`tagway tap`: events as they settle, live in the terminal, with the outcome in words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import orjson

from gateway.cli.common import AdminClient, NotRunning, config_option, json_option, load_config
from gateway.config.words import hint
from gateway.errors import GatewayError
from gateway.outcomes import Outcome

AGAIN_SECONDS = 1.0
REMEMBERED = 500
_OPEN = ("queued", "retrying")
_COLOURS = {"delivered": "green", "queued": "cyan", "retrying": "yellow", "skipped": "yellow"}


@dataclass(slots=True)
class Filter:
    """What is shown; None for everything."""

    to: str | None = None
    event: str | None = None
    outcome: str | None = None

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether a line is shown. `skipped{consent}` is narrower than `skipped`."""
        wanted = (self.outcome or "").rstrip("}").partition("{")
        return (
            self.to in (None, row["destination"])
            and self.event in (None, row["name"])
            and wanted[0] in ("", row["outcome"])
            and wanted[2] in ("", row["reason"])
        )


@dataclass(slots=True)
class Tap:
    """Turns messages of the stream into lines, each state of an event at a destination once."""

    last: int
    _rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    _told: dict[tuple[str, str], str] = field(default_factory=dict)
    _begun: bool = False

    def lines(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What is new in a message. Of what was there before, the last few."""
        if message["type"] == "all":
            yield from self._everything(message["events"])
        elif message["type"] == "events":
            for row in reversed(message["new"]):
                yield from self._new(row)
            for key, ends in message["changed"].items():
                if key in self._rows:
                    yield from self._new({**self._rows[key], "ends": ends})

    def _everything(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        found = [line for row in reversed(rows) for line in self._new(row)]
        yield from found if self._begun else found[len(found) - min(self.last, len(found)) :]
        self._begun = True

    def _new(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._rows[row["key"]] = row
        for lane, end in row["ends"].items():
            state = f"{end['state']}{{{end['reason']}}}{end['tries']}"
            if self._told.get((row["key"], lane)) != state and end["state"] != "queued":
                self._told[(row["key"], lane)] = state
                yield _line(row, lane, end)
        while len(self._rows) > 2 * REMEMBERED:
            gone = next(iter(self._rows))
            del self._rows[gone]
            self._told = {key: value for key, value in self._told.items() if key[0] != gone}


def _line(row: Mapping[str, Any], lane: str, end: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: row[key] for key in ("received", "source", "name", "id", "order", "value")}
    ended = {key: end.get(key) for key in ("reason", "words", "detail", "status", "ms", "error", "tries")}
    return {**shown, "destination": lane, "outcome": end["state"], **ended}


@click.command()
@config_option
@json_option
@click.option("--to", help="Only this destination.")
@click.option("--event", help="Only events of this name.")
@click.option("--outcome", help="Only this outcome: delivered, skipped, skipped{consent}, rejected, retrying …")
@click.option("--last", type=click.IntRange(0, REMEMBERED), default=10, show_default=True, help="Lines from before.")
def tap(config_path: Path | None, as_json: bool, last: int, **filters: str | None) -> None:
    """Follow events live, until Ctrl-C: each time one ends at a destination, or a try fails.

    \b
    tagway tap
    tagway tap --to meta --outcome skipped
    tagway tap --event purchase --json

    \b
    10:02:11  purchase      1001        meta      delivered              200 in 84 ms
    10:02:11  purchase      1002        meta      skipped{consent}       no consent: ad_storage is denied …

    Personal data and secrets are masked. It waits while the gateway restarts.
    """
    config = load_config(config_path, secrets=False)
    wanted = Filter(**filters)
    _check(wanted, list(config.destinations))
    try:
        for line in _follow(AdminClient(config), Tap(last)):
            if wanted.takes(line):
                click.echo(orjson.dumps(line).decode() if as_json else text_of(line))
    except KeyboardInterrupt:
        return


def _check(wanted: Filter, destinations: list[str]) -> None:
    if wanted.to and wanted.to not in destinations:
        raise GatewayError(f"there is no destination {wanted.to}{hint(wanted.to, destinations, lead='there are')}")
    known = [*(str(outcome) for outcome in Outcome), *_OPEN]
    outcome = (wanted.outcome or "").partition("{")[0]
    if outcome and outcome not in known:
        raise GatewayError(f"there is no outcome {outcome}{hint(outcome, known, lead='there are')}")


def _follow(client: AdminClient, tap_: Tap) -> Iterator[dict[str, Any]]:
    """Lines for ever. Raises NotRunning where no gateway answers at the beginning."""
    reached = False
    while True:
        try:
            for message in client.events("/stream"):
                reached = True
                yield from tap_.lines(message)
        except NotRunning:
            if not reached:
                raise
        time.sleep(AGAIN_SECONDS)


def text_of(line: Mapping[str, Any]) -> str:
    """A line for people."""
    outcome = f"{line['outcome']}{{{line['reason']}}}" if line["reason"] else line["outcome"]
    coloured = click.style(f"{outcome:<22}", fg=_COLOURS.get(line["outcome"], "red"))
    answer = f"{line['status']} in {line['ms']:.0f} ms" if line["status"] else line["error"] or ""
    words = line["detail"] or ("" if line["outcome"] == "delivered" else line["words"])
    said = ": ".join(part for part in (answer, words) if part)
    head = f"{line['received'][11:19]}  {line['name']:<18}{line['order'] or '-':<14}{line['destination']:<14}"
    return f"{head}{coloured} {said}".rstrip()

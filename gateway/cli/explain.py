"""`tagway explain`: what came, what each stage changed, the decisions, the requests, the answers, and what would change it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import orjson

from gateway.app import store_path
from gateway.cli.common import AdminClient, config_option, json_option, load_config, print_json, read_file
from gateway.cli.telling import dim, field_json, nothing_called, story_json, tell, tell_field, tell_stored
from gateway.config.models import Gateway
from gateway.config.words import hint
from gateway.errors import GatewayError, Refused
from gateway.explain import Story, is_canonical, refusal, stories_of_hit, story_of_event
from gateway.hit_file import looks_raw, native_hit, read_hit
from gateway.mapping import CompiledPlan, merged, trace
from gateway.page.places import Places
from gateway.plans import Ready, prepare
from gateway.queue.readonly import salt_readonly


@click.command()
@config_option
@json_option
@click.argument("what", required=False)
@click.argument("name", required=False)
@click.option("--order", help="The events with this transaction id, of the running gateway.")
@click.option("--hit", "hit_file", type=click.Path(dir_okay=False, path_type=Path), help="A raw HTTP request.")
@click.option("--to", help="Only this destination.")
@click.option("--field", "field_path", help="One field of the payload, from the hit to the byte: user_data.em")
@click.option("--source", help="The source a file came in through; for a raw request in place of key, Host and Origin.")
@click.option("--mapping", is_flag=True, help="The merged mapping of destination WHAT for event NAME, with file and line.")
def explain(config_path: Path | None, as_json: bool, what: str | None, name: str | None, **options: Any) -> None:
    """Tell the whole story of one event.

    \b
    tagway explain 0193f3c2-…                  an event id, of the running gateway
    tagway explain --order 1001 --to meta      by order number
    tagway explain event.json                  a file: a hit to /v1/events, or a stored event
    tagway explain --hit request.http          a raw HTTP request, of any dialect
    tagway explain event.json --to meta --field user_data.em
    tagway explain --mapping meta purchase     what the mapping says, and where it says so

    \b
    meta (meta, live)
      skipped{consent}: The visitor did not allow what this destination needs. …
      to change it: meta asks for ad_storage, ad_user_data  configs/destinations/meta.yaml:16

    \b
    meta  user_data.em[0]
      $user.email  →  " Jane@Example.com "    destinations/meta.yaml:96
      | email  →  "jane@example.com"          destinations/meta.yaml:96
      | sha256  →  "8c87b489ce35cf2e…"        destinations/meta.yaml:96
      sent: "8c87b489ce35cf2e2f39f80e282cb2e8…"

    Files are explained without a running gateway; nothing is sent or stored.
    Secrets are masked; values of a file are shown as they are.
    """
    config = load_config(config_path, secrets=False)
    ready = prepare(config)
    if options["mapping"]:
        _explain_mapping(ready, what, name, as_json)
        return
    if name:
        raise click.UsageError(f"{name} is one word too many; an event's name is for --mapping alone")
    if options["to"] and options["to"] not in ready:
        raise GatewayError(f"there is no destination {options['to']}{hint(options['to'], ready, lead='there are')}")
    if sum(bool(one) for one in (what, options["order"], options["hit_file"])) != 1:
        raise click.UsageError("name one of: an event id, a file, --order, --hit")
    chosen = {key: one for key, one in ready.items() if options["to"] in (None, key)}
    path = options["hit_file"] or (Path(what) if what and _is_file(what) else None)
    if path is not None:
        told = _stories(config, chosen, path, bool(options["hit_file"]), options["source"])
        _print(config, chosen, told, options["field_path"], as_json)
    else:
        _explain_stored(config, chosen, what, options, as_json)


def _is_file(what: str) -> bool:
    """Whether an argument names a file; one that only looks like it is a mistake. Raises GatewayError."""
    if Path(what).is_file():
        return True
    if what.endswith((".json", ".http", ".txt")) or "/" in what:
        raise GatewayError(f"there is no file {what}")
    return False


def _stories(config: Gateway, ready: Mapping[str, Ready], path: Path, raw: bool, source: str | None) -> list[Story]:
    now, content = time.time(), read_file(path)
    try:
        if raw or looks_raw(content):
            return stories_of_hit(config, ready, read_hit(content, config, source, now), now, salt_readonly(store_path(config)))
    except Refused as error:
        return [refusal(error)]
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise GatewayError(f"{path} is neither JSON ({error}) nor a raw HTTP request") from None
    if is_canonical(value):
        return [story_of_event(ready, value, now)]
    return stories_of_hit(config, ready, native_hit(content, config, source, now), now)


def _print(config: Gateway, ready: Mapping[str, Ready], stories: list[Story], field_path: str | None, as_json: bool) -> None:
    if field_path:
        _explain_field(ready, stories, field_path, as_json)
        return
    places = Places(config)
    if as_json:
        print_json({"stories": [story_json(story, ready, places) for story in stories]})
        return
    for number, story in enumerate(stories):
        if number:
            click.echo()
        tell(story, ready, places)


def _explain_stored(
    config: Gateway, ready: Mapping[str, Ready], what: str | None, options: Mapping[str, Any], as_json: bool
) -> None:
    """An event of the running gateway: what happened, as it tells it; `--field` runs the mapping here again."""
    order, field_path = options["order"], options["field_path"]
    path = f"/orders/{quote(order, safe='')}" if order else f"/events/{quote(what or '', safe='')}"
    found = AdminClient(config).get(path, {"raw": "1"} if field_path else None)
    if not found["events"]:
        place = f"order {order}" if order else str(what)
        kept = "; one that no destination may have keeps its number for queue.personal (72h)" if order else ""
        raise GatewayError(f"no event of {place} is in the store; it may have left with retention, or never have come in{kept}")
    if field_path:
        told = [story_of_event(ready, one["event"], time.time()) for one in found["events"]]
        _explain_field(ready, told, field_path, as_json)
    elif as_json:
        print_json({"stories": [_only(story, options["to"]) for story in found["stories"]]})
    else:
        for number, story in enumerate(found["stories"]):
            if number:
                click.echo()
            tell_stored(story, options["to"])


def _only(story: dict[str, Any], to: str | None) -> dict[str, Any]:
    return {**story, "destinations": [one for one in story["destinations"] if to in (None, one["destination"])]}


def _explain_field(ready: Mapping[str, Ready], stories: list[Story], path: str, as_json: bool) -> None:
    out: list[dict[str, Any]] = []
    for story in stories:
        if story.event is None:
            raise GatewayError(f"the hit was refused: {story.refused}")
        endings = {one.destination: one.ending for one in story.decisions}
        for name in endings:
            out += _field_of(ready[name], story, path, endings[name], as_json)
    if as_json:
        print_json(out)


def _field_of(one: Ready, story: Story, path: str, ending: Any, as_json: bool) -> list[dict[str, Any]]:
    """The chains of one destination, printed or for JSON."""
    name, plan, event = one.config.name, one.plan, story.event
    if event is None or not isinstance(plan, CompiledPlan):
        return []
    now = time.time()
    told = trace(plan, event, now, path)
    stopped = told.ending or ending
    if as_json:
        ended = {"ending": str(stopped) if stopped else None}
        rows = [{**field_json(name, field, story.stages), **ended} for field in told]
        return rows or [{"destination": name, "field": path, "sent": False, "steps": [], **ended}]
    if stopped:
        click.echo(dim(f"{name}: the event itself is not sent: {stopped} {stopped.detail}".rstrip()))
    for field in told:
        tell_field(name, field, story.stages)
    if not list(told) and not told.ending:
        names = [field.field for field in trace(plan, event, now)]
        click.echo(f"{name}: its mapping of {event.name} has no field {path}{nothing_called(path, names)}")
    return []


def _explain_mapping(ready: Mapping[str, Ready], what: str | None, name: str | None, as_json: bool) -> None:
    if what is None:
        raise click.UsageError(f"--mapping takes a destination ({', '.join(ready)}) and, if you like, an event name")
    if what not in ready:
        raise GatewayError(f"there is no destination {what}{hint(what, ready, lead='there are')}")
    one = ready[what]
    tree = merged(one.manifest, one.config)
    rules = tree["events"]
    if name and name not in rules:
        raise GatewayError(f"{what} has no mapping for {name}{hint(name, rules, lead='it has')}")
    chosen = rules[name] if name else tree
    if as_json:
        print_json(_plain(chosen))
        return
    if name and chosen is None:
        click.echo(f"{name}: null    {dim(str(rules.marks.get(name, '')))}")
    for path, value, place in _leaves(chosen, name or what):
        click.echo(f"{path}: {value}    {dim(place)}")


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, list) else (None if tree is None else str(tree))


def _leaves(tree: Any, path: str) -> list[tuple[str, str, str]]:
    if isinstance(tree, dict):
        marks = getattr(tree, "marks", {})
        return [leaf for key, value in tree.items() for leaf in _leaf(value, f"{path}.{key}", marks.get(key))]
    if isinstance(tree, list):
        return [leaf for n, value in enumerate(tree) for leaf in _leaves(value, f"{path}[{n}]")]
    return [] if tree is None else [(path, str(tree), str(getattr(tree, "mark", "")))]


def _leaf(value: Any, path: str, mark: Any) -> list[tuple[str, str, str]]:
    return [(path, "null", str(mark or ""))] if value is None else _leaves(value, path)

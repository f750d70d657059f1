"""`tagway explain`: what came, what each stage changed, the decisions, the requests, the answers, and what would change it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from gateway.cli.common import AdminClient, config_option, json_option, load_config, print_json
from gateway.config.models import Gateway
from gateway.errors import GatewayError
from gateway.explain import Decision, Story, is_canonical, masked, stories_of_hit, story_of_event
from gateway.hit_file import native_hit, read_hit
from gateway.mapping import CompiledPlan, merged, trace
from gateway.mapping.trace import FieldTrace
from gateway.plans import Ready, prepare


@click.command()
@config_option
@json_option
@click.argument("what", required=False)
@click.argument("name", required=False)
@click.option("--order", help="The event with this transaction id, of the running gateway.")
@click.option("--hit", "hit_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A raw HTTP request.")
@click.option("--to", help="Only this destination.")
@click.option("--field", "field_path", help="One field of the payload, from the hit to the byte: user_data.em")
@click.option("--source", help="The source a file came in through; may be left out while there is one.")
@click.option("--mapping", is_flag=True, help="The merged mapping of destination WHAT for event NAME, with file and line.")
def explain(config_path: Path | None, as_json: bool, what: str | None, name: str | None, **options: Any) -> None:
    """Tell the whole story of one event.

    \b
    tagway explain 0193f3c2-…                  an event id, of the running gateway
    tagway explain --order 1001 --to meta      by order number
    tagway explain event.json                  a file: a hit to /v1/events, or a stored event
    tagway explain --hit request.http          a raw HTTP request
    tagway explain event.json --to meta --field user_data.em
    tagway explain --mapping meta purchase     what the mapping says, and where it says so
    """
    config = load_config(config_path, secrets=False)
    ready = prepare(config)
    if options["mapping"]:
        _explain_mapping(ready, what, name, as_json)
        return
    if options["to"] and options["to"] not in ready:
        raise GatewayError(f"there is no destination {options['to']}; there are {', '.join(ready)}")
    chosen = {key: one for key, one in ready.items() if options["to"] in (None, key)}
    told, answers = _stories(config, chosen, what, options)
    if options["field_path"]:
        for story in told:
            _explain_field(chosen, story, options["field_path"], as_json)
    elif as_json:
        print_json({"stories": [story_json(story, chosen) for story in told], "answers": answers})
    else:
        for story in told:
            _tell(story, chosen)
        _tell_answers(answers, options["to"])


def _stories(
    config: Gateway, ready: Mapping[str, Ready], what: str | None, options: Mapping[str, Any]
) -> tuple[list[Story], list[dict[str, Any]]]:
    now = time.time()
    if options["hit_file"]:
        return stories_of_hit(
            config, ready, read_hit(options["hit_file"].read_bytes(), config, options["source"], now), now
        ), []
    if what and Path(what).is_file():
        value = _json_file(Path(what))
        if is_canonical(value):
            return [story_of_event(ready, value, now)], []
        return stories_of_hit(config, ready, native_hit(Path(what).read_bytes(), config, options["source"], now), now), []
    if not what and not options["order"]:
        raise click.UsageError("name an event id, a file, --order or --hit")
    path = f"/orders/{options['order']}" if options["order"] else f"/events/{what}"
    found = AdminClient(config).get(path)
    if not found["events"]:
        place = f"order {options['order']}" if options["order"] else str(what)
        raise GatewayError(f"no event of {place} is in the store; it may have left with retention, or never have come in")
    return [story_of_event(ready, one["event"], now) for one in found["events"]], found["firings"]


def _json_file(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise GatewayError(f"{path} is not JSON: {error}") from None


def story_json(story: Story, ready: Mapping[str, Ready]) -> dict[str, Any]:
    """A story for programs."""
    return {
        "event": story.event.data if story.event else None,
        "refused": story.refused or None,
        "stages": [{"stage": s.name, "changed": s.changed, "dropped": s.dropped} for s in story.stages],
        "destinations": [decision_json(one, ready[one.destination]) for one in story.decisions],
    }


def decision_json(decision: Decision, one: Ready) -> dict[str, Any]:
    """A decision for programs, secrets masked."""
    ending = decision.ending
    return {
        "destination": decision.destination,
        "type": decision.type,
        "mode": decision.mode,
        "outcome": ending.outcome if ending else None,
        "reason": ending.reason if ending else None,
        "words": decision.words,
        "requests": [masked(request, one) for request in decision.requests],
    }


def _tell(story: Story, ready: Mapping[str, Ready]) -> None:
    if story.refused:
        click.echo(click.style("refused at the door: ", fg="red") + story.refused)
    for stage in story.stages:
        click.echo(click.style(stage.name, bold=True))
        for path, value in stage.changed.items():
            click.echo(f"  {path} = {orjson.dumps(value).decode()}")
        for path in stage.dropped:
            click.echo(click.style(f"  {path} could not be used and was dropped", fg="yellow"))
    for decision in story.decisions:
        colour = "green" if decision.ending is None else "yellow"
        click.echo(click.style(f"{decision.destination} ({decision.type}, {decision.mode})", bold=True))
        outcome = "would be sent" if decision.ending is None else str(decision.ending)
        click.echo("  " + click.style(outcome, fg=colour) + f": {decision.words}")
        for request in decision.requests:
            shown = masked(request, ready[decision.destination])
            click.echo(f"  {shown['method']} {shown['url']}")
            for header, value in shown["headers"].items():
                click.echo(f"  {header}: {value}")
            click.echo(f"  {shown['body']}")


def _tell_answers(answers: list[dict[str, Any]], to: str | None) -> None:
    for one in answers:
        if to in (None, one["destination"]):
            status = one["status"] or one["error"]
            click.echo(f"{one['at']}  {one['destination']} answered {status} in {one['ms']:.0f} ms: {one['answer']}")


def _explain_field(ready: Mapping[str, Ready], story: Story, path: str, as_json: bool) -> None:
    if story.event is None:
        raise GatewayError(f"the hit was refused: {story.refused}")
    for name, one in ready.items():
        plan = one.plan
        if not isinstance(plan, CompiledPlan):
            continue
        told = trace(plan, story.event, time.time(), path)
        if told.ending:
            click.echo(f"{name}: nothing is sent: {told.ending} {told.ending.detail}")
            continue
        fields = list(told)
        if as_json:
            print_json([field_json(name, field) for field in fields])
            continue
        if not fields:
            click.echo(f"{name}: the mapping of {story.event.name} has no field {path}")
        for field in fields:
            _tell_field(name, field)


def field_json(destination: str, field: FieldTrace) -> dict[str, Any]:
    """The chain of one field for programs."""
    steps = [{"step": s.text, "before": s.before, "after": s.after, "place": s.place} for s in field.steps]
    return {"destination": destination, "field": field.field, "sent": field.sent, "value": field.value, "steps": steps}


def _tell_field(destination: str, field: FieldTrace) -> None:
    click.echo(click.style(f"{destination}  {field.field}", bold=True))
    for step in field.steps:
        click.echo(f"  {step}" + (f"    {click.style(step.place, dim=True)}" if step.place else ""))
    if field.sent:
        click.echo("  " + click.style("sent: ", fg="green") + orjson.dumps(field.value).decode())
    elif field.removed:
        click.echo("  " + click.style("not sent: ", fg="yellow") + f"{field.removed.text} gave nothing ({field.removed.place})")


def _explain_mapping(ready: Mapping[str, Ready], what: str | None, name: str | None, as_json: bool) -> None:
    if what is None or what not in ready:
        raise click.UsageError(f"--mapping takes a destination ({', '.join(ready)}) and, if you like, an event name")
    one = ready[what]
    tree = merged(one.manifest, one.config)
    rules = tree["events"]
    if name and name not in rules:
        raise GatewayError(f"{what} has no mapping for {name}; it has {', '.join(rules)}")
    chosen = rules[name] if name else tree
    if as_json:
        print_json(_plain(chosen))
        return
    for path, value, place in _leaves(chosen, name or what):
        click.echo(f"{path}: {value}    {click.style(place, dim=True)}")


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, list) else (None if tree is None else str(tree))


def _leaves(tree: Any, path: str) -> list[tuple[str, str, str]]:
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in _leaves(value, f"{path}.{key}")]
    if isinstance(tree, list):
        return [leaf for n, value in enumerate(tree) for leaf in _leaves(value, f"{path}[{n}]")]
    return [(path, "null" if tree is None else str(tree), str(getattr(tree, "mark", "")))]

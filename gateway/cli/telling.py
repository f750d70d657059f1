"""Stories as text and as JSON for `tagway explain`: what came, what each stage changed, decisions, requests, chains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import orjson

from gateway.config.words import near
from gateway.explain import Decision, Stage, Story, masked
from gateway.mapping.trace import FieldTrace
from gateway.mapping.trace_expression import Step
from gateway.page.places import Places
from gateway.plans import Ready

_COLOURS = {"delivered": "green", "queued": "cyan", "retrying": "yellow", "skipped": "yellow", "duplicate": "yellow"}
_PATH = re.compile(r"\$([a-z_]+(?:\.[A-Za-z0-9_]+|\[\d+\])*)")
_SHOWN = 200
"""Characters of a value in a chain."""


def bold(text: str) -> str:
    """A heading."""
    return click.style(text, bold=True)


def dim(text: str) -> str:
    """Beside the point, but good to have."""
    return click.style(text, dim=True)


def compact(value: Any) -> str:
    """A value as one line of JSON, cut where it is long."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def story_json(story: Story, ready: Mapping[str, Ready], places: Places) -> dict[str, Any]:
    """A story for programs."""
    event = story.event
    return {
        "event": event.data if event else None,
        "refused": story.refused or None,
        "stages": [_stage_json(s) for s in story.stages],
        "destinations": [
            {**decision_json(one, ready[one.destination]), "change": _change(one, story, ready[one.destination], places)}
            for one in story.decisions
        ],
    }


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "changed": stage.changed,
        "dropped": stage.dropped,
        "origins": {path: words for path, words in stage.origins.items() if path in stage.changed},
        "notes": stage.notes,
    }


def _change(decision: Decision, story: Story, one: Ready, places: Places) -> list[dict[str, Any]]:
    """The lines of files that would change a decision."""
    event = story.event
    return [place.to_json() for place in places.change(one, event.name, event.source, decision.ending)] if event else []


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


def tell(story: Story, ready: Mapping[str, Ready], places: Places) -> None:
    """A story made by running the stages: of a file, or of a hit."""
    if story.refused:
        click.echo(click.style("refused at the door: ", fg="red") + story.refused)
    for stage in story.stages:
        _tell_stage(stage)
    if story.event is not None and not story.stages:
        click.echo(bold(f"{story.event.name}  {story.event.id}") + f"  from {story.event.source}")
    if story.event is not None and not story.decisions:
        click.echo(f"no destination reads the source {story.event.source}")
    for decision in story.decisions:
        _tell_decision(decision, story, ready[decision.destination], places)


def _tell_stage(stage: Stage) -> None:
    click.echo(bold(stage.name) + ("" if stage.changed or stage.dropped else "  changed nothing"))
    for path, value in stage.changed.items():
        click.echo(f"  {path} = {compact(value)}{_from(stage, path)}")
    for note in stage.notes:
        click.echo(dim(f"  {note}"))
    for path in stage.dropped:
        click.echo(click.style(f"  {path} could not be used and was dropped", fg="yellow"))


def _from(stage: Stage, path: str) -> str:
    """Where the value at a path came from, where that is known."""
    return dim(f"    from {stage.origins[path]}") if path in stage.origins else ""


def _tell_decision(decision: Decision, story: Story, one: Ready, places: Places) -> None:
    ending = decision.ending
    click.echo(bold(f"{decision.destination} ({decision.type}, {decision.mode})"))
    outcome = "would be sent" if ending is None else str(ending)
    click.echo("  " + click.style(outcome, fg="green" if ending is None else "yellow") + f": {decision.words}")
    for place in _change(decision, story, one, places):
        _tell_place(place)
    for request in decision.requests:
        _tell_request(masked(request, one))


def _tell_place(place: Mapping[str, Any]) -> None:
    click.echo(dim(f"  to change it: {place['words']}" + (f"  {place['place']}" if place["place"] else "")))


def _tell_request(shown: Mapping[str, Any]) -> None:
    click.echo(f"  {shown['method']} {shown['url']}")
    for header, value in shown["headers"].items():
        click.echo(f"    {header}: {value}")
    body = shown["body"]
    click.echo(f"    {body if isinstance(body, str) else orjson.dumps(body).decode()}")


def tell_stored(story: Mapping[str, Any], to: str | None) -> None:
    """A story of the running gateway: what happened, masked by it."""
    order = f"  order {story['order']}" if story.get("order") else ""
    click.echo(bold(f"{story['name']}  {story['id']}") + f"{order}  {story['received']}")
    if story.get("repeat"):
        click.echo(click.style("duplicate{conflict}", fg="red") + f": {story['repeat']}")
    for step in story["steps"]:
        click.echo(bold(step["title"]) + f"  {step['words']}")
        for row in step["rows"]:
            signal = f"    {row['signal']}" if row.get("signal") else f"    from {row['from']}" if row.get("from") else ""
            click.echo(f"  {row['field']} = {compact(row['value'])}{signal}")
    for end in story["destinations"]:
        if to in (None, end["destination"]):
            _tell_end(end)


def _tell_end(end: Mapping[str, Any]) -> None:
    click.echo(bold(f"{end['destination']} ({end['type'] or 'no file'}, {end['mode']})"))
    words = " ".join(word for word in (end.get("sentence", ""), end.get("detail", "")) if word)
    click.echo("  " + click.style(end["words"], fg=_COLOURS.get(end["state"], "red")) + f": {words}")
    for one in end["answers"]:
        said = one["answer"] if isinstance(one["answer"], str) else orjson.dumps(one["answer"]).decode()
        click.echo(
            f"  {one['at']}  {one['request']} → {one['status'] or one['error'] or 'not sent'} in {one['ms']:.0f} ms  {said}"
        )
    for place in end.get("change", ()):
        if end["state"] == "delivered":
            click.echo(dim(f"  {place['words']}  {place['place']}"))
        else:
            _tell_place(place)
    if end.get("requests"):
        click.echo(dim("  as the files in use now would send it:"))
    for request in end.get("requests", ()):
        _tell_request(request)


def field_json(destination: str, field: FieldTrace, stages: Sequence[Stage] = ()) -> dict[str, Any]:
    """The chain of one field for programs; `removed` is the first step that emptied it, where it is not sent."""
    return {
        "destination": destination,
        "part": field.part,
        "field": field.field,
        "sent": field.sent,
        "value": field.value,
        "before": [
            {"stage": stage.name, "path": path, "value": value, "from": stage.origins.get(path)}
            for stage, path, value in origins(field, stages)
        ],
        "steps": [_step_json(step) for step in field.steps],
        "removed": _step_json(field.removed) if field.removed else None,
    }


def _step_json(step: Step) -> dict[str, Any]:
    return {"kind": step.kind, "step": step.text, "before": step.before, "after": step.after, "place": step.place}


def tell_field(destination: str, field: FieldTrace, stages: Sequence[Stage]) -> None:
    """The chain of one field, from the hit to the byte."""
    click.echo(bold(f"{destination}  {field.field}"))
    for stage, path, value in origins(field, stages):
        told = "could not be used" if value is DROPPED else f"= {compact(value)}{_from(stage, path)}"
        click.echo(f"  {stage.name}: {path} {told}")
    for step in field.steps:
        chain = f"| {step.text}" if step.kind == "call" else step.text
        click.echo(f"  {chain}  →  {compact(step.after)}" + (f"    {dim(step.place)}" if step.place else ""))
    if field.sent:
        click.echo("  " + click.style("sent: ", fg="green") + orjson.dumps(field.value).decode())
    else:
        click.echo("  " + click.style("not sent: ", fg="yellow") + _why(field, stages))


DROPPED = "(dropped)"
"""Stands for the value of a field that a stage could not use."""


def _why(field: FieldTrace, stages: Sequence[Stage]) -> str:
    for stage, path, value in origins(field, stages):
        if value is DROPPED:
            return f"{stage.name} could not use {path}"
    removed = field.removed
    if removed is None:
        return "it is empty, and empty values are left out"
    return f"{removed.text} gave nothing" + (f" ({removed.place})" if removed.place else "")


def origins(field: FieldTrace, stages: Sequence[Stage]) -> Iterator[tuple[Stage, str, Any]]:
    """(stage, path of the event, value) for what the chain reads of the event, in the order of the stages."""
    read = dict.fromkeys(found[1].removeprefix("event.") for step in field.steps for found in _PATH.finditer(step.text))
    for stage in stages:
        for path in read:
            for changed, value in stage.changed.items():
                if _within(changed, path):
                    yield stage, changed, value
            for dropped in stage.dropped:
                if _within(dropped, path):
                    yield stage, dropped, DROPPED


def _within(changed: str, read: str) -> bool:
    return changed == read or changed.startswith((f"{read}.", f"{read}["))


def nothing_called(path: str, names: Sequence[str]) -> str:
    """`; did you mean user_data.em[0]?`, or what there is."""
    known = list(dict.fromkeys(names))
    found = near(path, known) or next((name for name in known if path.rpartition(".")[2] in re.split(r"[.\[]", name)), None)
    return f"; did you mean {found}?" if found else f"; it has {', '.join(known[:40])}{' …' if len(known) > 40 else ''}"

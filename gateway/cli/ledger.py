"""`tagway audit`, `dlq`, `replay`, `reload`: what became of every event, and another try for what failed."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import click

from gateway.app import store_path
from gateway.cli.common import AdminClient, config_option, json_option, load_config, print_json, progress_bar, working
from gateway.cli.nodes import node_client
from gateway.errors import GatewayError
from gateway.observe.ledger import ledger, table
from gateway.observe.ledger_parts import event_rows, event_table, of_source
from gateway.observe.nodes import added
from gateway.plans import prepare
from gateway.queue.audit import audit_readonly
from gateway.queue.readonly import counters_readonly


@click.command()
@config_option
@json_option
@click.option("--event", help="The outcomes of one event name, per destination.")
@click.option("--source", help="Only this source.")
@click.option("--node", "nodes", multiple=True, help="The admin listener of a node; repeat it, and their books are added up.")
def audit(config_path: Path | None, as_json: bool, event: str | None, source: str | None, nodes: tuple[str, ...]) -> None:
    """Count the equation per destination; exit 1 if it does not hold.

    \b
    logged = delivered + skipped + expired + rejected + dead + withdrawn + erased + queued

    \b
    tagway audit
    tagway audit --event purchase --source shop
    tagway audit --node http://10.0.0.7:9090 --node http://10.0.0.8:9090

    Counted from the rows of the store itself, whether or not the gateway runs.
    A figure of a vendor that never confirms carries a *. The counters run since
    the store began and have no time, so there is no --since; ask Prometheus
    (tagway_outcomes_total) what one day brought.
    """
    if nodes:
        _audit_nodes(nodes, as_json)
        return
    config = load_config(config_path, secrets=False)
    unconfirmed = frozenset(name for name, one in prepare(config).items() if one.manifest.confirms == "none")
    with working("counting every row of the store"):
        counted = audit_readonly(store_path(config))
        counters = counters_readonly(store_path(config))
    if source:
        counted, counters = of_source(counted, counters, source)
    view = ledger(counted, counters, unconfirmed)
    if event:
        rows = event_rows(view, counters, event)
        print_json(rows) if as_json else click.echo(event_table(rows))
    elif as_json:
        print_json(view)
    else:
        click.echo(table(view))
    if not counted.balanced:
        for problem in counted.problems if event else ():
            click.echo(f"problem: {problem}", err=True)
        raise SystemExit(1)


def _audit_nodes(nodes: tuple[str, ...], as_json: bool) -> None:
    """Every node's own books, added up."""
    with working("asking the nodes"):
        view = added({node: node_client(node).get("/ledger") for node in nodes})
    print_json(view) if as_json else click.echo(table(view))
    if not view["balanced"]:
        raise SystemExit(1)


@click.group()
def dlq() -> None:
    """Dead letters: events that were not delivered, with the reason and a copy.

    \b
    tagway dlq list --to meta --reason vendor_4xx
    tagway dlq show 17
    tagway dlq replay --to meta        after the cause is mended
    tagway dlq drop --id 17            delete the copy; the count stays
    """


def _filters(command: Any) -> Any:
    for option in (
        click.option("--to", help="Destination."),
        click.option("--source", help="Source."),
        click.option("--outcome", type=click.Choice(["rejected", "dead", "duplicate", "skipped"]), help="How it ended."),
        click.option("--reason", help="Reason, for example vendor_4xx or auth."),
        click.option("--event", "event_id", help="Event id."),
        click.option("--since", help="From this time on (RFC 3339)."),
        click.option("--until", help="Up to this time (RFC 3339)."),
        click.option("--id", "ids", multiple=True, type=int, help="Number of a dead letter; may be repeated."),
    ):
        command = option(command)
    return command


def _query(filters: dict[str, Any]) -> dict[str, Any]:
    query = {key: value for key, value in filters.items() if value not in (None, ())}
    if "ids" in query:
        query["ids"] = ",".join(str(one) for one in query["ids"])
    return query


@dlq.command("list")
@config_option
@json_option
@_filters
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
def dlq_list(config_path: Path | None, as_json: bool, **filters: Any) -> None:
    """List dead letters, newest first."""
    letters = AdminClient(load_config(config_path, secrets=False)).get("/dlq", _query(filters))["dead"]
    if as_json:
        print_json(letters)
        return
    for one in letters:
        where = one["destination"] or f"source {one['source']}"
        words = f"{one['outcome']}{{{one['reason']}}} {one['detail']}"
        click.echo(f"{one['id']:>6}  {one['at']}  {where:<16} {one['name']:<18} {one['event_id']}  {words}")
    if not letters:
        click.echo("no dead letters")


@dlq.command("show")
@config_option
@click.argument("number", type=int)
def dlq_show(config_path: Path | None, number: int) -> None:
    """Show one dead letter with its event and the vendor's answers."""
    client = AdminClient(load_config(config_path, secrets=False))
    letters = client.get("/dlq", {"ids": str(number)})["dead"]
    if not letters:
        raise GatewayError(f"there is no dead letter {number}")
    print_json({**letters[0], **client.get(f"/events/{letters[0]['event_id']}")})


@dlq.command("replay")
@config_option
@json_option
@_filters
@click.option("--all", "everything", is_flag=True, help="Without a filter: all of them.")
def dlq_replay(config_path: Path | None, as_json: bool, everything: bool, **filters: Any) -> None:
    """Queue dead letters again; consent and age are judged anew."""
    query = _need_filter(_query(filters), everything)
    done = AdminClient(load_config(config_path, secrets=False)).post("/dlq/replay", {**query, "limit": 1_000_000})
    print_json(done) if as_json else click.echo(f"{done['replayed']} queued again")


@dlq.command("drop")
@config_option
@json_option
@_filters
@click.option("--all", "everything", is_flag=True, help="Without a filter: all of them.")
def dlq_drop(config_path: Path | None, as_json: bool, everything: bool, **filters: Any) -> None:
    """Delete the kept copies; the outcomes stay as counted."""
    query = _need_filter(_query(filters), everything)
    done = AdminClient(load_config(config_path, secrets=False)).post("/dlq/drop", {**query, "limit": 1_000_000})
    print_json(done) if as_json else click.echo(f"{done['dropped']} dropped")


def _need_filter(query: dict[str, Any], everything: bool) -> dict[str, Any]:
    if not query and not everything:
        raise click.UsageError("name which ones (--to, --reason, --id …), or --all")
    return query


@click.command()
@config_option
@json_option
@click.option("--to", required=True, help="The destination to back-fill.")
@click.option("--since", required=True, help="How far back: 3d, 12h, or an RFC 3339 time.")
def replay(config_path: Path | None, as_json: bool, to: str, since: str) -> None:
    """Send a destination what it missed, from the log.

    Never what was already delivered there, nor what the vendor is too late for.

    \b
    tagway replay --to meta --since 3d
    """
    config = load_config(config_path, secrets=False)
    steps = AdminClient(config).stream("/replay", {"to": to, "since": since})
    step = first = next(steps, {"done": 0, "total": 0, "queued": 0})
    done = 0
    with progress_bar(first["total"], f"replay to {to}") as bar:
        for step in chain([first], steps):
            bar.update(step["done"] - done)
            done = step["done"]
    if as_json:
        print_json({"to": to, "looked_at": done, "queued": step["queued"]})
    else:
        click.echo(f"{step['queued']} of {done} events queued for {to}; the others are delivered there or queued already")


@click.command()
@config_option
@json_option
def reload(config_path: Path | None, as_json: bool) -> None:
    """Let the running gateway read its configuration again; a bad file changes nothing."""
    answer = AdminClient(load_config(config_path, secrets=False)).post("/reload", {})
    print_json(answer) if as_json else click.echo(f"reloaded, configuration {answer['hash'][:12]}")

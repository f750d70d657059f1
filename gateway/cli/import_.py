"""`tagway import`: what another tag manager had, as destination files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.common import json_file, json_option, print_json
from gateway.config.load import load
from gateway.errors import GatewayError
from gateway.move.files import destination_file, names, variables
from gateway.move.gtm import Container
from gateway.move.tags import Outcome, read_tags


@click.group("import")
def import_() -> None:
    """Move in from another tag manager.

    \b
    tagway import gtm GTM-ABC123_v7.json
    """


@import_.command("gtm")
@click.argument("export", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("configs"),
    show_default=True,
    help="The folder of gateway.yaml.",
)
@click.option("--source", help="The source of the events; may be left out while there is one.")
def import_gtm(export: Path, as_json: bool, folder: Path, source: str | None) -> None:
    """Read a Google Tag Manager export (web or server container) and write destination files.

    \b
    tagway import gtm GTM-ABC123_v7.json           GTM: Admin > Export container
    tagway import gtm GTM-ABC123_v7.json --json

    \b
    Carried are tags of GA4, Meta and TikTok (Google's, the gallery's and Stape's templates):
    account, events, names, conditions, fields from the data layer, look-up tables, required
    consent. Everything else is listed with the vendor and the reason. Files are written in
    mode dry_run; secrets of the container are not copied, and no file that is there is touched.
    """
    container = Container(json_file(export))
    outcome = read_tags(container)
    sources = [_source(folder, source)]
    drafts = list(outcome.drafts.values())
    called = names(drafts)
    files = {
        folder / "destinations" / f"{name}.yaml": destination_file(name, draft, container.name, sources)
        for name, draft in zip(called, drafts, strict=True)
    }
    _write(files)
    needed = [one for name, draft in zip(called, drafts, strict=True) for one in variables(name, draft)]
    if as_json:
        print_json(_report(container, outcome, list(files), needed))
        return
    click.echo("\n".join(_lines(container, outcome, list(files), needed, folder)))


def _source(folder: Path, name: str | None) -> str:
    path = folder / "gateway.yaml"
    if not path.is_file():
        raise GatewayError(f"there is no {path}; write one first: tagway init --site https://shop.example")
    sources = list(load(path, secrets=False).sources)
    if name is None and len(sources) == 1:
        return sources[0]
    if name not in sources:
        raise GatewayError(f"name the source with --source: {', '.join(sources)}")
    return str(name)


def _write(files: dict[Path, str]) -> None:
    there = [path for path in files if path.exists()]
    if there:
        lines = [f"{path} is there already" for path in there]
        raise GatewayError("\n".join([*lines, "nothing was written; take the file away, or use another --dir"]))
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    except OSError as error:
        raise GatewayError(f"cannot write {error.filename}: {error.strerror}") from None


def _report(container: Container, outcome: Outcome, files: Sequence[Path], needed: Sequence[str]) -> dict[str, Any]:
    return {
        "container": container.name,
        "kind": "server" if container.server else "web",
        "tags": len(container.tags),
        "files": [str(path) for path in files],
        "variables": list(needed),
        "carried": outcome.carried,
        "not_carried": outcome.left,
        "beside": list(container.beside()),
    }


def _lines(container: Container, outcome: Outcome, files: Sequence[Path], needed: Sequence[str], folder: Path) -> list[str]:
    kind = "server" if container.server else "web"
    lines = [
        f"{container.name} ({kind}): {len(outcome.carried)} of {len(container.tags)} tags carried",
        *(f"wrote {path}" for path in files),
    ]
    if outcome.carried:
        lines += ["", "Carried:"]
    for one in outcome.carried:
        where = f"{one['destination']} {one['account']}".strip()
        lines.append(f"  {one['tag']} → {where}: {', '.join(one['events'])}")
        lines += [f"      {note}" for note in one["notes"]]
    if outcome.left:
        lines += ["", "Not carried:", *(f"  {one['tag']} ({one['type']}): {one['why']}" for one in outcome.left)]
    beside = [f"  {one['kind']} {one['name']} ({one['type']}): {one['why']}" for one in container.beside()]
    if beside:
        lines += ["", "Also in the container, and not carried:", *beside]
    if needed:
        lines += ["", "Set in .env:", *(f"  {name}=" for name in needed)]
    return [*lines, "", "Next:", f"  tagway check --without-secrets -c {folder / 'gateway.yaml'}", "  docs/rollout.md"]

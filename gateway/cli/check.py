"""`tagway check`: everything that can be known before serving, all problems in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.common import config_file, config_option, json_option, print_json
from gateway.config.load import load, warnings
from gateway.config.models import Gateway
from gateway.errors import ConfigErrors, Problem
from gateway.plans import prepare


@click.command()
@config_option
@json_option
@click.option("--without-secrets", is_flag=True, help="Do not ask for secrets: for pull requests and CI.")
def check(config_path: Path | None, as_json: bool, without_secrets: bool) -> None:
    """Check the configuration: syntax, keys, secrets, mappings, consent.

    Every problem of every file is listed as file:line: message; exit 1 if there
    is one. Warnings name what works but surprises, and do not fail.
    """
    path = config_file(config_path)
    problems: list[Problem] = []
    config: Gateway | None = None
    try:
        config = load(path, secrets=not without_secrets)
        problems += warnings(config)
        prepare(config)
    except ConfigErrors as error:
        problems += error.problems
    failed = any(not problem.warning for problem in problems)
    if as_json:
        print_json({"ok": not failed, "problems": [_json(problem) for problem in problems]})
    else:
        _print(path, config, problems, failed)
    if failed:
        raise SystemExit(1)


def _print(path: Path, config: Gateway | None, problems: list[Problem], failed: bool) -> None:
    for problem in problems:
        word = click.style("warning: ", fg="yellow") if problem.warning else click.style("error: ", fg="red")
        click.echo(word + str(problem), err=True)
    if config is None or failed:
        return
    lanes = ", ".join(f"{name} ({one.type}, {one.mode})" for name, one in config.destinations.items()) or "none"
    click.echo(f"{path}: fine. Sources: {', '.join(config.sources)}. Destinations: {lanes}.")


def _json(problem: Problem) -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "message": problem.message, "warning": problem.warning}

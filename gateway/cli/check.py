"""`tagway check`: everything that can be known before serving, all problems in one run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.common import config_file, config_option, json_option, print_json
from gateway.config.load import load, warnings
from gateway.config.models import Gateway
from gateway.enrich.lookups import read_lookups
from gateway.errors import ConfigErrors, Problem
from gateway.online import Online, ask
from gateway.plans import prepare

_COLOURS = {"fine": "green", "unsure": "yellow", "wrong": "red", "nothing": "white"}


@click.command()
@config_option
@json_option
@click.option(
    "--without-secrets",
    is_flag=True,
    help="Ask for no secret, nor for the files of addresses (geo.database, bots.datacentres): for CI.",
)
@click.option("--online", is_flag=True, help="Ask the vendors too, with what they offer for that. Nothing is recorded there.")
def check(config_path: Path | None, as_json: bool, without_secrets: bool, online: bool) -> None:
    """Check the configuration: syntax, keys, secrets, mappings, consent.

    \b
    tagway check                        offline
    tagway check --without-secrets      in CI
    tagway check --online               and ask the vendors whether settings and tokens are good

    Every problem of every file is listed as file:line: message; exit 1 if there
    is one. Warnings name what works but surprises, and do not fail.
    """
    if online and without_secrets:
        raise click.UsageError("--online needs the secrets: leave --without-secrets out")
    path = config_file(config_path)
    problems: list[Problem] = []
    config: Gateway | None = None
    try:
        config = load(path, secrets=not without_secrets)
        problems += warnings(config)
        prepare(config)
    except ConfigErrors as error:
        problems += error.problems
    if config and not without_secrets:
        problems += _of_lookups(config)
    failed = any(not problem.warning for problem in problems)
    answers = asyncio.run(ask(config)) if online and config and not failed else []
    if as_json:
        _print_json(problems, answers if online else None, failed)
    else:
        _print(path, config, problems, failed)
        _print_answers(answers)
    if failed or any(one.answer == "wrong" for one in answers):
        raise SystemExit(1)


def _of_lookups(config: Gateway) -> Sequence[Problem]:
    """What is wrong with the files of addresses; in CI they need not be there."""
    try:
        read_lookups(config)
    except ConfigErrors as error:
        return error.problems
    return ()


def _print(path: Path, config: Gateway | None, problems: list[Problem], failed: bool) -> None:
    for problem in problems:
        word = click.style("warning: ", fg="yellow") if problem.warning else click.style("error: ", fg="red")
        click.echo(word + str(problem), err=True)
    if config is None or failed:
        return
    lanes = ", ".join(f"{name} ({one.type}, {one.mode})" for name, one in config.destinations.items()) or "none"
    click.echo(f"{path}: fine. Sources: {', '.join(config.sources)}. Destinations: {lanes}.")


def _print_answers(answers: Sequence[Online]) -> None:
    for one in answers:
        word = "-" if one.answer == "nothing" else one.answer
        click.echo(f"{one.destination:<16}{click.style(f'{word:<8}', fg=_COLOURS[one.answer])}{one.words}")


def _print_json(problems: list[Problem], answers: Sequence[Online] | None, failed: bool) -> None:
    good = not failed and not any(one.answer == "wrong" for one in answers or ())
    value: dict[str, Any] = {"ok": good, "problems": [_json(problem) for problem in problems]}
    if answers is not None:
        value["online"] = [one.to_json() for one in answers]
    print_json(value)


def _json(problem: Problem) -> dict[str, Any]:
    return {"file": problem.file, "line": problem.line, "message": problem.message, "warning": problem.warning}

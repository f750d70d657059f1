"""Several nodes: their books added up, and one emptied before it goes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
from click.testing import Result

from gateway.lab.server import Lab
from gateway.observe.nodes import added
from tests.cli_kit import tagway
from tests.gateway_kit import DENIED, lab_files, purchase, running


async def command(*arguments: str) -> Result:
    """The command line in another thread, as the gateway runs in this one."""
    return await asyncio.to_thread(tagway, *arguments)


async def test_the_books_of_two_nodes_add_up(tmp_path: Path, lab: Lab) -> None:
    async with running(tmp_path / "a", lab_files(lab, ["meta"])) as a, running(tmp_path / "b", lab_files(lab, ["meta"])) as b:
        await a.send([purchase("a-1"), purchase("a-2", consent=DENIED)])
        await b.send(purchase("b-1"))
        await asyncio.gather(a.idle(), b.idle())
        urls = [f"http://{node.app.addresses['admin']}" for node in (a, b)]
        shown = await command("audit", "--json", "--node", urls[0], "--node", urls[1])
        view = json.loads(shown.stdout)
        [meta] = view["destinations"]
        assert (view["balanced"], meta["accepted"], meta["delivered"], meta["queued"]) == (True, 3, 2, 0)
        assert [(cell["outcome"], cell["events"]) for cell in meta["outcomes"] if cell["outcome"] == "skipped"] == [
            ("skipped", 1)
        ]


def test_a_node_that_does_not_balance_shows_in_the_sum() -> None:
    def view(balanced: bool) -> dict[str, object]:
        return {
            "balanced": balanced,
            "problems": [] if balanced else ["a row"],
            "destinations": [],
            "sources": [],
            "events": [],
        }

    both = added({"a": view(True), "b": view(False)})
    assert (both["balanced"], both["problems"]) == (False, ["b: a row"])


async def test_drain_turns_readiness_off_and_waits_for_the_last_event(tmp_path: Path, lab: Lab) -> None:
    lab.down("meta", "500")
    async with running(tmp_path, lab_files(lab, ["meta"])) as gateway:
        await gateway.send(purchase())
        url = f"http://{gateway.app.addresses['admin']}"
        early = await command("drain", "--node", url, "--timeout", "0.2")
        assert early.exit_code == 1
        assert "still queued" in early.stderr
        async with aiohttp.ClientSession() as client, client.get(f"{gateway.url}/readyz") as answer:
            assert (answer.status, (await answer.json())["reasons"]) == (503, ["draining"])
        assert (await gateway.send(purchase("late")))["accepted"] == 1
        lab.down("meta", None)
        done = await command("drain", "--node", url)
        assert (done.exit_code, done.stdout) == (0, "empty: every destination has everything\n")
        assert (await command("drain", "--node", url, "--undo")).exit_code == 0
        assert gateway.app.ready()["ready"]

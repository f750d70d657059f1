"""The documentation says what is there, and nothing else: both ways, for commands, settings, metrics, reasons, routes, links.

What stands in it as a command is run or parsed, what stands in it as an answer is compared. docs/start.md and docs/mapping.md
have tests of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import aiohttp
import click
import pytest
from pydantic import BaseModel

from docs import reference
from gateway.app import Tagway
from gateway.cli import VERBS, main
from gateway.config.load import load
from gateway.config.models import DestinationConfig, Gateway, SignalKind, Source
from gateway.errors import RefusedReason
from gateway.lab import start_lab
from gateway.manifest import Manifest, discover, load_manifest
from gateway.observe.metrics import FAMILIES
from gateway.outcomes import REASONS
from gateway.receive.routes import DIALECTS
from tests.docs_kit import ROOT, Block, blocks, pages

README = (ROOT / "README.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
COG = Path(sys.executable).parent / "cog"
PAGES = pages()


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def section(text: str, heading: str) -> str:
    """A page from a heading to the next one of its level; generated or not."""
    level = heading.partition(" ")[0]
    bare = re.sub(r"^```.*?^```", lambda found: found[0].replace("#", " "), text, flags=re.MULTILINE | re.DOTALL)
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{len(level)}}} |\Z)", bare, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return re.sub(r"^<!-- \[\[\[end\]\]\] -->$", "", text[slice(*found.span(1))], flags=re.MULTILINE)


def first_cells(text: str) -> list[str]:
    """What stands as code in the first column of the tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


# ---------------------------------------------------------------- generated parts


@pytest.mark.slow
def test_generated_parts_are_up_to_date() -> None:
    files = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
    done = subprocess.run([COG, "--check", *files], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"run `make format`\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("words", list(reference.commands()), ids=" ".join)
def test_help_is_what_the_command_prints(words: tuple[str, ...]) -> None:
    env = {**os.environ, "COLUMNS": str(reference.WIDTH + 2)}
    command = [sys.executable, "-c", "from gateway.cli import main; main(prog_name='tagway')", *words, "--help"]
    printed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True).stdout
    part = section((ROOT / "docs" / "cli.md").read_text(), f"### `tagway {' '.join(words)}`")
    assert part.strip() == f"```text\n{printed.rstrip()}\n```"


# ---------------------------------------------------------------- both ways


def test_commands_are_those_that_exist() -> None:
    assert re.findall(r"^\| \[`tagway ([\w-]+)`\]", section(README, "### Commands"), re.MULTILINE) == list(VERBS)
    headings = re.findall(r"^### `tagway ([^`]+)`$", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert headings == [" ".join(words) for words in reference.commands()]


def test_vendors_are_those_that_exist() -> None:
    assert re.findall(r"^\| \[`(\w+)`\]", section(README, "### Vendors"), re.MULTILINE) == list(discover())


def test_metrics_are_those_that_are_exposed() -> None:
    assert first_cells(section(README, "### Metrics")) == list(FAMILIES)


def test_outcomes_and_their_reasons_are_those_that_can_be() -> None:
    part = section(README, "### Outcomes")
    assert set(first_cells(part)) >= {str(outcome) for outcome in REASONS}
    pairs = {(outcome, reason) for outcome, reason in re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? \|", part, re.MULTILINE)}
    failures = set(re.findall(r"^\| `(\w+)` \| [a-z]", part, re.MULTILINE))
    for outcome, reasons in REASONS.items():
        for reason in reasons:
            assert (str(outcome), reason) in pairs or reason in failures, f"{outcome}{{{reason}}}"
    known = {(str(outcome), reason) for outcome, reasons in REASONS.items() for reason in reasons}
    assert pairs <= known


def test_refusals_are_those_that_can_be() -> None:
    assert re.findall(r"^\| `(\w+)` \| \d{3} \|", README, re.MULTILINE) == [str(reason) for reason in RefusedReason]


def test_routes_are_those_that_are_answered() -> None:
    paths = re.findall(r"^\| [A-Z ]+ \| `([^`]+)` \|", section(README, "### Routes"), re.MULTILINE)
    assert paths == [row.path for row in DIALECTS]


async def test_services_are_named_beside_the_routes(tmp_path: Path) -> None:
    async with Demo(tmp_path) as (gateway, _):
        services = gateway.door.paths() - {row.path for row in DIALECTS}
    text = section(README, "### Routes")
    assert {path for path in services if f"{path}`" not in text} == set()


@pytest.mark.parametrize(
    ("model", "heading"), [(Gateway, "## The gateway"), (Source, "## A source"), (DestinationConfig, "## A destination")]
)
def test_every_key_has_a_row_and_every_row_a_key(model: type[BaseModel], heading: str) -> None:
    keys = [path for path, _, _ in reference.keys_of(model)]
    rows = [cell for cell in first_cells(section(CONFIGURATION, heading)) if cell not in get_args(SignalKind)]
    assert rows == keys + (["extends"] if model is DestinationConfig else [])


@pytest.mark.parametrize("model", [Gateway, Source, DestinationConfig])
def test_every_key_says_what_it_does(model: type[BaseModel]) -> None:
    assert [path for path, field, _ in reference.keys_of(model) if not field.description] == []


@pytest.mark.parametrize("vendor", discover())
def test_every_setting_of_a_vendor_is_listed(vendor: str) -> None:
    part = section(section(CONFIGURATION, "## Settings of each vendor"), f"### {vendor}")
    assert first_cells(part) == list(load_manifest(vendor).settings)


def test_words_of_consent_are_those_that_may_be_read() -> None:
    part = section(CONFIGURATION, "## A source")
    assert [cell for cell in first_cells(part) if cell in get_args(SignalKind)] == list(get_args(SignalKind))
    assert {"event", "own"} <= reference.signals_read()


def test_variables_of_the_environment_are_those_that_are_read() -> None:
    listed = set(first_cells(section(CONFIGURATION, "## Environment")))
    code = "\n".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    read = set(re.findall(r"\bTAGWAY_[A-Z]+(?:_[A-Z]+)*\b", code)) - {"TAGWAY_COMPLETE"}
    assert listed == read


def test_the_scan_of_a_table_finds_what_stands_there() -> None:
    assert first_cells("| `a.b` | text |\n| c | d |\n| `e` | `f` |\n") == ["a.b", "e"]
    assert section("# A\n## B\nx\n### C\ny\n## D\nz\n", "## B") == "\nx\n### C\ny\n"


# ---------------------------------------------------------------- links and pictures


def links() -> Iterator[Any]:
    for path in PAGES:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text):
            if not target.startswith(("https://", "http://")):
                yield pytest.param(path, target, id=f"{named(path)} → {target}")


def anchors(path: Path) -> set[str]:
    """Anchors of a page: its headings as GitHub makes them, and those written out."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = (re.sub(r"[`*]", "", one).strip().lower() for one in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    made = {re.sub(r"[^\w\- ]", "", one).replace(" ", "-") for one in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize(("path", "target"), list(links()))
def test_a_link_leads_somewhere(path: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    there = (path.parent / name).resolve() if name else path
    assert there.exists(), f"{named(path)} links to {target}"
    assert there.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(there), f"{named(path)} links to {target}; there are {sorted(anchors(there))}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        found = re.findall(r"\]\(([^)\s#]+\.md)", page.read_text())
        todo += [(page.parent / target).resolve() for target in found if "://" not in target]
    assert {named(path) for path in PAGES} - {named(path) for path in seen} == set()


# ---------------------------------------------------------------- commands


def commands_of(block: Block) -> Iterator[list[str]]:
    """The `tagway` commands in a block, as words."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        words = line.strip().removeprefix("$ ")
        found = re.search(r"(?:^|&& |exec tagway )(tagway [a-z].*)$", words) if block.language in ("sh", "console") else None
        found = found or (re.match(r"(tagway [a-z].*)$", words) if block.language == "text" and " → " not in words else None)
        if found and "Usage:" not in block.text:
            yield shlex.split(re.split(r"\s{2,}|\s+#|\s*&&", found[1])[0])[1:]


def written_commands() -> list[Any]:
    found = [(path, block, words) for path in PAGES for block in blocks(path) for words in commands_of(block)]
    return [pytest.param(words, id=f"{named(path)}:{block.line} {' '.join(words)}") for path, block, words in found]


def parse(words: list[str]) -> click.Command:
    """Parse a command line as `tagway` would, without running it. Raises click.UsageError."""
    command: click.Command = main
    context = click.Context(main, info_name="tagway")
    while isinstance(command, click.Group):
        if not words:
            raise click.UsageError("a verb is missing")
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no such verb: {words[0]}")
        command, words = found, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    _, left, _ = command.make_parser(context).parse_args(list(words))
    if left:
        raise click.UsageError(f"too many words: {left}")
    return command


@pytest.mark.parametrize("words", written_commands())
def test_a_command_of_the_documentation_can_be_given(words: list[str]) -> None:
    parse(words)


@pytest.mark.parametrize("line", ["adit", "audit --since 3d", "dlq", "dlq lst", "send a b --to meta", "explain --too meta"])
def test_a_command_that_cannot_be_given_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line.split())


def test_targets_of_make_are_those_of_the_makefile() -> None:
    there = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    written = {word for path in PAGES for word in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)}
    assert written
    assert written <= there


# ---------------------------------------------------------------- curl


class Demo:
    """A gateway with the lab's configuration on free ports; gives it and the lab."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __aenter__(self) -> tuple[Tagway, Any]:
        self._lab = await start_lab("127.0.0.1", 0)
        urls = {name: self._lab.url(name) for name in self._lab.vendors}
        self._gateway = Tagway(load(reference.lab_files(self._folder, urls)), drain=0.0)
        await self._gateway.start()
        return self._gateway, self._lab

    async def __aexit__(self, *_: object) -> None:
        await self._gateway.stop()
        await self._lab.close()


def curls(page: Path) -> list[tuple[Block, Block | None]]:
    """Blocks with a curl line to this machine, each with the JSON block below it."""
    found = blocks(page)
    pairs = []
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.language == "sh" and "curl" in block.text and "http://127.0.0.1" in block.text and not block.mark:
            pairs.append((block, after if after and after.language == "json" and not after.mark else None))
    return pairs


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md"])
async def test_curl_lines_are_answered_as_the_page_says(page: str, tmp_path: Path) -> None:
    pairs = curls(ROOT / page)
    assert pairs
    async with Demo(tmp_path) as (gateway, lab):
        ports = {"8080": gateway.addresses["public"], "9090": gateway.addresses["admin"], "9464": gateway.addresses["metrics"]}
        if page != "README.md":
            await posted(gateway)
        for block, answer in pairs:
            text = re.sub(r"127\.0\.0\.1:(\d{4})", lambda found: ports[found[1]], block.text)
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", text, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            printed, errors = await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 0, errors.decode()
            assert answer is not None, f"{page}:{block.line} does not show the answer"
            assert json.loads(printed) == json.loads(answer.text)
            if page == "README.md":
                await arrived(lab)  # before the next one, which withdraws consent


async def posted(gateway: Tagway) -> None:
    """The person that operations.md erases has been here."""
    url = f"http://{gateway.addresses['public']}/v1/events?k=wk_shop_demo"
    event = {"name": "page_view", "user": {"email": "jane@example.com"}, "consent": reference.GRANTED}
    async with aiohttp.ClientSession() as client, client.post(url, json=event) as answer:
        assert answer.status == 200


async def arrived(lab: Any) -> None:
    """The README's event has reached all four vendors' emulators."""
    for _ in range(200):
        if all(any(entry.accepted for entry in lab.inbox(name)) for name in lab.vendors):
            return
        await asyncio.sleep(0.05)
    raise AssertionError({name: lab.inbox(name) for name in lab.vendors})


# ---------------------------------------------------------------- manners


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_a_page_speaks_plainly(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert not re.search("[\U0001f300-\U0001faff☀-➿]", text.replace("✓", "").replace("✗", "")), "an emoji"
    fog = r"\b(seamless|leverage|cutting-edge|blazing|robust|next-gen|powerful|effortless\w*|unlock|supercharge)\b"
    assert re.findall(fog, text, re.IGNORECASE) == []


def test_manifests_name_a_page_that_is_there() -> None:
    manifests: list[Manifest] = [load_manifest(name) for name in discover()]
    page = (ROOT / "docs" / "destinations.md").read_text()
    assert [one.name for one in manifests if f'<a id="{one.name}"></a>' not in page] == []

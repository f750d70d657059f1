"""docs/start.md, executed: every command in its order, the lab in Meta's place, the snippet in a real browser.

What is substituted: ports (free ones), and Meta's address by the `endpoint:` line that the page itself shows under Rehearse.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs_kit import ROOT, Block, Shell, blocks, missing_lines
from tests.faults.process import free_port
from tests.needs import program

pytestmark = pytest.mark.slow
PAGE = ROOT / "docs" / "start.md"
PORTS = ("8080", "9090", "9464", "9100")
PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
MARKS = r"run|run after a moment|run in the background until \S+|run in the browser after the snippet|expect these lines"
MARKS += r"|these lines in \.env|at the end of \S+, before step \d+|not run: .{10,}"


class Reader:
    """Somebody who follows the page to the letter."""

    def __init__(self, folder: Path) -> None:
        self.shell = Shell(folder)
        self.ports = {port: str(free_port()) for port in PORTS}
        self.output = ""
        self.snippet = ""
        self.blocks = blocks(PAGE)

    def here(self, text: str) -> str:
        """The text with this machine's ports."""
        return re.sub("|".join(PORTS), lambda found: self.ports[found[0]], text)

    def follow(self) -> None:
        """Rehearse's lines first where it says so, then every step."""
        rehearsal = [block for block in self.blocks if self._belongs_to(block) == "Rehearse"]
        steps = [block for block in self.blocks if block not in rehearsal]
        fourth = next(i for i, block in enumerate(steps) if self._belongs_to(block).startswith("4."))
        for block in (*steps[:fourth], *rehearsal, *steps[fourth:]):
            self.take(block)

    def take(self, block: Block) -> None:
        """What the mark says."""
        mark, text = self.here(block.mark), self.here(block.text)
        if mark == "run":
            self.output = self.shell.run(text)
            self._after(block)
        elif mark == "run after a moment":
            self._until_expected(block, text)
        elif mark.startswith("run in the background until "):
            self.shell.start(text)
            until(lambda: answers(mark.rpartition(" ")[2]), self.shell.logs)
        elif mark == "run in the browser after the snippet":
            asyncio.run(in_a_browser(self.snippet, text, f"http://127.0.0.1:{self.ports['8080']}"))
        elif mark == "expect these lines":
            assert missing_lines(block.text, self.output) == [], f"{PAGE.name}:{block.line}, in:\n{self.output}"
        elif mark == "these lines in .env":
            self._fill_in(text)
        elif found := re.fullmatch(r"at the end of (\S+), before step \d+", mark):
            with (self.shell.folder / found[1]).open("a") as file:
                file.write(text)

    def _belongs_to(self, block: Block) -> str:
        above = PAGE.read_text().splitlines()[: block.line]
        return next((line[3:] for line in reversed(above) if line.startswith("## ")), "")

    def _after(self, block: Block) -> None:
        """After `tagway init`: keep its snippet, and move its gateway to the ports that are free here."""
        if "tagway init" in block.text:
            self.snippet = re.search(r"  <script>\n.*</script>", self.output, re.DOTALL)[0]  # type: ignore[index]
            path = self.shell.folder / "configs" / "gateway.yaml"
            path.write_text(self.here(path.read_text()))

    def _until_expected(self, block: Block, text: str) -> None:
        expected = self.blocks[self.blocks.index(block) + 1]
        assert expected.mark == "expect these lines"

        def met() -> bool:
            self.output = self.shell.run(text)
            return missing_lines(expected.text, self.output) == []

        until(met, lambda: f"{self.output}\n{self.shell.logs()}")

    def _fill_in(self, text: str) -> None:
        path = self.shell.folder / ".env"
        written = path.read_text()
        for line in text.splitlines():
            name = line.partition("=")[0]
            written, count = re.subn(rf"(?m)^{name}=$", line, written)
            assert count == 1, f".env.example has no line {name}="
        path.write_text(written)


def until(good: Any, words: Any, seconds: float = 20.0) -> None:
    """Ask until it holds."""
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline, words()
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def in_a_browser(snippet: str, call: str, gateway: str) -> None:
    """The snippet and the call on a page of https://shop.example; its hits go to the gateway as the browser sent them."""
    from playwright.async_api import async_playwright

    chromium = program("chromium", "chromium")
    sent: list[int] = []
    granted = snippet.replace('"default"', '"update"').replace('"denied"', '"granted"')
    assert granted.count("granted") == 4

    async def pass_on(route: Any) -> None:
        request = route.request
        headers = {**await request.all_headers(), "host": "t.shop.example"}
        kept = {name: value for name, value in headers.items() if not name.startswith(":") and name != "content-length"}
        url = gateway + request.url.removeprefix("https://t.shop.example")
        if request.method == "GET":
            await route.fulfill(body=await asyncio.to_thread(get, url, "t.shop.example"), content_type="text/javascript")
            return
        answer = await asyncio.to_thread(post, url, request.post_data_buffer or b"", kept)
        sent.append(answer)
        await route.fulfill(status=answer, body="")

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page(user_agent=PERSON, locale="en-GB")  # its own says HeadlessChrome, which is a bot's
        html = f"<!doctype html><html><head>{granted}</head><body>Thanks</body></html>"
        await page.route("https://shop.example/**", lambda route: route.fulfill(content_type="text/html", body=html))
        await page.route("https://t.shop.example/**", pass_on)
        await page.goto("https://shop.example/thanks")
        await page.evaluate(f"() => {{ {call} }}")
        deadline = time.monotonic() + 10
        while len(sent) < 2 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await browser.close()
    assert sent == [200, 200], "a page view and the purchase"


def get(url: str, host: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=10) as answer:
        return bytes(answer.read())


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.shell.stop()


def arrived(reader: Reader) -> list[str]:
    """Ids of the events that Meta's emulator took."""
    url = f"http://127.0.0.1:{reader.ports['9100']}/inbox/meta"
    inbox = json.loads(urllib.request.urlopen(url, timeout=5).read())
    return [entry["id"] for entry in (inbox["meta"] if isinstance(inbox, dict) else inbox) if entry["accepted"]]


def test_the_page_can_be_followed_to_the_letter(reader: Reader) -> None:
    reader.follow()
    until(lambda: "order-1004" in arrived(reader), lambda: reader.shell.run("tagway explain order-1004"))
    ids = arrived(reader)
    assert "order-1002" in ids, "mode: test sends"
    assert not {"order-1001", "order-1003"} & set(ids), "a dry run and a refusal send nothing"
    assert any(str(one).startswith("tagway-sample-") for one in ids), "tagway send"
    audit = json.loads(reader.shell.run("tagway audit --json"))
    assert audit["balanced"]


def test_every_block_says_what_a_test_does_with_it() -> None:
    unmarked = [block.line for block in blocks(PAGE) if not re.fullmatch(MARKS, block.mark) and block.language not in ("text",)]
    assert unmarked == []


def test_a_page_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with pytest.raises(AssertionError, match="No such file"):
        shell.run("cat missing.txt | tr N n; false")
    assert shell.run("mkdir a; cd a; export COLOUR=green; echo one; echo three") == "one\nthree\n"
    assert shell.run('pwd; echo "$COLOUR"').splitlines()[-2:] == [str(tmp_path / "work" / "a"), "green"]
    assert missing_lines("one\nthree\n", "one\ntwo\nthree\n") == []
    assert missing_lines("three\none\n", "one\ntwo\nthree\n") == ["one"]
    assert isinstance(shell.start("sleep 60"), subprocess.Popen)
    shell.stop()

"""The demo as its user has it: `tagway demo` in a process of its own on free ports, and a browser on its page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.faults.process import free_port
from tests.needs import missing

CHROMIUM = Path("/usr/bin/chromium")
ARGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
).split()
INSTALL = "chromium is missing; install it with: apt-get install chromium"
TAGWAY = (sys.executable, "-m", "gateway")
VENDORS = ("meta", "ga4", "tiktok", "webhook")
PORTS = {
    "shop": "--port",
    "gateway": "--gateway-port",
    "admin": "--admin-port",
    "metrics": "--metrics-port",
    "lab": "--lab-port",
}


@dataclass
class DemoProcess:
    """A running `tagway demo`; `output` is what it printed until it was up."""

    process: subprocess.Popen[str]
    ports: dict[str, int]
    output: str
    log: Path

    @property
    def url(self) -> str:
        """Of the shop."""
        return f"http://127.0.0.1:{self.ports['shop']}"

    def get(self, name: str, path: str) -> Any:
        """JSON of a listener."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """A POST to the shop as its own page makes it; status and parsed answer."""
        sent = {"Content-Type": "application/json", "Origin": self.url, **(headers or {})}
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), sent)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def board(self) -> dict[str, Any]:
        """The first value of the stream."""
        with urllib.request.urlopen(f"{self.url}/api/stream", timeout=10) as answer:
            return dict(json.loads(answer.readline().removeprefix(b"data: ")))

    def printed(self) -> str:
        """All that came on the terminal so far."""
        return self.log.read_text()

    def books(self) -> dict[str, Any]:
        """The ledger, once nothing is queued."""
        until(lambda: not any(lane["queued"] for lane in self.get("admin", "/lanes")["lanes"]), 60, "events are still queued")
        return dict(self.get("admin", "/ledger"))


@contextmanager
def demo_process(folder: Path, *options: str, command: Sequence[str] = TAGWAY) -> Iterator[DemoProcess]:
    """Start it on free ports, wait until it is up, and stop it by Ctrl-C."""
    ports = {name: free_port() for name in PORTS}
    words = [word for name, port in ports.items() for word in (PORTS[name], str(port))]
    log = folder / "demo.out"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "demo", *words, *options],
            stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, cwd=folder,
        )  # fmt: skip
    try:
        until(lambda: "Stop with Ctrl-C" in log.read_text() or process.poll() is not None, 40, "the demo did not come up")
        assert process.poll() is None, log.read_text()
        yield DemoProcess(process, ports, log.read_text(), log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(20)


def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for something that another process does. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """Debian's browser, with `more` on its command line; without it the test fails in CI and is skipped elsewhere."""
    if not CHROMIUM.exists():
        missing(INSTALL)
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=str(CHROMIUM), args=[*ARGS, *more])
        yield browser
        browser.close()


class Visitor:
    """Somebody with the demo's page open."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def says(self, consent: str) -> None:
        """all, statistics, necessary or unasked."""
        self.page.check(f"#consent input[value={consent}]", force=True)

    def buys(self, product: str = "Desk lamp") -> str:
        """Through the cart and the checkout; the order number."""
        self.page.click("nav >> text=Products")
        self.page.click(f"[aria-label='Add {product} to the cart']")
        self.page.click("text=Go to checkout")
        self.page.click("button[type=submit]")
        return self.page.inner_text("#order-number")

    def cell(self, order: str, vendor: str, state: str, seconds: float = 15) -> str:
        """What the page says of an order at a vendor, once it stands at `state`."""
        cell = self.page.locator(f"[data-order='{order}'] [data-vendor={vendor}][data-state={state}]")
        cell.wait_for(timeout=seconds * 1000)
        return " ".join(cell.inner_text().split())

    def latest(self) -> str:
        """The sentence about the newest order."""
        return self.page.inner_text("#latest")

    def switch(self, vendor: str) -> Locator:
        """The "is down" switch."""
        return self.page.locator(f".vendor[data-vendor={vendor}] [role=switch]")

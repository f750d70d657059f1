"""The page in a real browser: found, filtered, opened, replayed, by keyboard alone, on a phone, in light and dark, under load.

Each test fails on an error in the console, on a request to any other host, and where a control has no name.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.lab import Lab, start_lab
from tests.gateway_kit import DENIED, GRANTED, Running, lab_files, purchase, running, write_files
from tests.needs import missing

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
).split()
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}

NAMELESS = """() => {
  const named = (one) => {
    const label = one.getAttribute("aria-label") || one.title || one.placeholder || "";
    const ids = (one.getAttribute("aria-labelledby") || "").split(" ");
    const by = ids.map((id) => document.getElementById(id)?.textContent || "").join("");
    const labels = one.labels ? [...one.labels].map((label) => label.textContent).join("") : "";
    return (label + by + labels + (["INPUT", "SELECT"].includes(one.tagName) ? "" : one.textContent)).trim();
  };
  const controls = [...document.querySelectorAll("a[href], button, input, select, summary, [role=tab], progress")];
  const shown = controls.filter((one) => !one.closest("[hidden]") && one.getAttribute("aria-hidden") !== "true");
  return shown.filter((one) => !named(one)).map((one) => one.outerHTML);
}"""
CONTRASTS = """() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || one.closest("[hidden], .hidden, .skip-link, noscript, option")) continue;
    if (one.disabled || !one.getClientRects().length) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${one.tagName}.${one.className}: ${ratio.toFixed(2)} ${one.textContent.slice(0, 30)}`);
  }
  return found;
}"""
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
LONG_TASKS = """() => {
  window.longTasks = [];
  const note = (list) => window.longTasks.push(...list.getEntries().map((one) => one.duration));
  new PerformanceObserver(note).observe({ type: "longtask" });
}"""


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = await start_lab("127.0.0.1", 0)
    yield made
    await made.close()


@pytest.fixture
async def gateway(tmp_path: Path, lab: Lab) -> AsyncIterator[Running]:
    async with running(tmp_path, lab_files(lab)) as up:
        yield up


@pytest.fixture
async def chromium() -> AsyncIterator[Any]:
    if CHROMIUM is None:
        missing("there is no chromium: apt-get install chromium")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(
    chromium: Any, gateway: Running, path: str = "", size: dict[str, int] = DESKTOP, scheme: str = "light", refused: int = 0
) -> AsyncIterator[Any]:
    """The page at a path; `refused` answers of 401 are expected (and then logged by the browser itself)."""
    base = f"http://{gateway.app.addresses['admin']}"
    context = await chromium.new_context(viewport=size, color_scheme=scheme, locale="en-GB")
    page = await context.new_page()
    page.set_default_timeout(15_000)
    errors: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(base) else None)
    await page.goto(f"{base}/{path}")
    yield page
    assert await page.evaluate(NAMELESS) == []
    await context.close()
    assert foreign == []
    assert len([error for error in errors if "401" in error]) <= refused, errors
    assert [error for error in errors if "401" not in error] == []


def base_of(page: Any) -> str:
    parts = urlsplit(page.url)
    return f"{parts.scheme}://{parts.netloc}"


async def until(page: Any, expression: str) -> None:
    """Wait until an expression holds; the page's own policy forbids the browser's way of waiting for one."""
    async with asyncio.timeout(15):
        while not await page.evaluate(expression):
            await asyncio.sleep(0.05)


async def text_of(page: Any, selector: str) -> str:
    return re.sub(r"\s+", " ", str(await page.inner_text(selector)))


async def test_an_event_appears_by_itself_with_what_became_of_it(chromium: Any, gateway: Running) -> None:
    async with opened(chromium, gateway) as page:
        await page.wait_for_selector("#events-empty:visible")
        assert "curl -s 'http://127.0.0.1:" in await text_of(page, "#events-empty")
        await gateway.send([purchase("e-1"), purchase("e-2", consent=DENIED)])
        await page.wait_for_selector("#events-body tr:nth-child(2)")
        await until(page, "document.querySelectorAll('#events-body .chip.good').length === 4")
        rows = await text_of(page, "#events-body")
        assert "order o-e-1 · 42.50 EUR · shop.example/thanks" in rows
        assert rows.count("no consent") == 4
        card = await text_of(page, "article[aria-label=meta]")
        assert re.search(r"2 accepted = ✓ ?1 delivered \+ ⊘ ?1 no consent \+ ↻ ?0 waiting ✓ adds up", card), card
        assert "1* delivered" in await text_of(page, "article[aria-label=ga4]")


async def test_a_term_of_the_equation_filters_the_events_behind_it(chromium: Any, gateway: Running) -> None:
    await gateway.send([purchase(f"e-{n}", consent=GRANTED if n < 3 else DENIED) for n in range(5)])
    await gateway.idle()
    async with opened(chromium, gateway) as page:
        await page.click("article[aria-label=meta] button:has-text('no consent')")
        await until(page, "document.querySelectorAll('#events-body tr').length === 2")
        assert await page.input_value("#filter-destination") == "meta"
        await page.click("#filter-clear")
        await until(page, "document.querySelectorAll('#events-body tr').length === 5")
        await page.fill("#filter-text", "o-e-1")
        await until(page, "document.querySelectorAll('#events-body tr').length === 1")
        await page.fill("#filter-text", "nothing has this")
        await page.wait_for_selector("#events-empty:visible")


async def test_a_story_is_opened_by_its_order_number(chromium: Any, gateway: Running) -> None:
    await gateway.send(purchase("e-1"))
    await gateway.idle()
    async with opened(chromium, gateway) as page:
        await page.fill("#find-input", "o-e-1")
        await page.press("#find-input", "Enter")
        await page.wait_for_selector("#story h1:has-text('purchase · order o-e-1')")
        story = await text_of(page, "#story")
        assert "Delivered to 4 of 4" in story
        assert "said by the hit itself" in story
        assert re.search(r"meta\.yaml:\d+", story)
        await page.click("section[aria-label=meta] summary:has-text('Each field')")
        await page.wait_for_selector("section[aria-label=meta] code:has-text('custom_data.currency')")
        assert "jane@example.com" not in await page.content()
        await page.goto(f"{base_of(page)}/#/order/o-e-1")
        await page.wait_for_selector("#story h1:has-text('purchase')")
        await page.goto(f"{base_of(page)}/#/event/none")
        await page.wait_for_selector("#story h1:has-text('Nothing is known of none')")


async def test_a_dead_letter_is_sent_again(chromium: Any, gateway: Running, lab: Lab, tmp_path: Path) -> None:
    await gateway.send([purchase(f"e-{n}", props={"value": 3, "transaction_id": f"77{n}"}) for n in range(2)])
    await gateway.idle()
    before = gateway.app.store.counters()
    async with opened(chromium, gateway, "#/dead") as page:
        await page.wait_for_selector(".dead tbody tr")
        await page.select_option("#dead select[aria-label=destination]", "tiktok")
        await until(page, "document.querySelectorAll('.dead tbody tr').length === 2")
        await page.check(".dead tbody tr:first-child input")
        await page.click("button:has-text('Send 1 again')")
        await page.wait_for_selector("#dead [role=status]:has-text('1 queued again')")
        await gateway.idle()
        assert gateway.app.store.counters() == before, "it lacks the same value still"
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        await until(page, "document.querySelectorAll('.dead tbody tr').length === 2")
        await page.check("#dead thead input")
        await page.click("button:has-text('Drop 2')")
        await page.wait_for_selector("#dead [role=status]:has-text('2 dropped')")


async def test_a_lane_is_back_filled_with_progress(chromium: Any, tmp_path: Path, lab: Lab) -> None:
    files = lab_files(lab)
    files["meta"] += "mode: dry_run\n"
    async with running(tmp_path, files) as gateway:
        await gateway.send([purchase(f"e-{n}") for n in range(3)])
        await gateway.idle()
        path = tmp_path / "destinations" / "meta.yaml"
        path.write_text(path.read_text().replace("mode: dry_run\n", ""))
        await gateway.app.reload()
        async with opened(chromium, gateway) as page:
            await page.click("article[aria-label=meta] summary")
            await page.click("article[aria-label=meta] button:has-text('Send again')")
            await page.wait_for_selector("article[aria-label=meta] [role=status]:has-text('Done')")
            await until(
                page, "document.querySelector('article[aria-label=meta] .sum').textContent.includes('3 accepted =✓3delivered')"
            )


async def test_a_vendor_that_is_down_is_told_with_its_reason(chromium: Any, gateway: Running, lab: Lab) -> None:
    lab.down("meta", "500")
    async with opened(chromium, gateway) as page:
        await page.wait_for_selector("article[aria-label=meta]")
        for n in range(8):
            await gateway.send(purchase(f"e-{n}"))
            await asyncio.sleep(0.05)
        await page.wait_for_selector("article[aria-label=meta] .state.open", timeout=30_000)
        assert "requests in a row failed" in await text_of(page, "article[aria-label=meta]")
        assert "meta: vendor is down." in await text_of(page, "#status"), "a screen reader hears it once"
        assert not await page.locator("article[aria-label=webhook] .reason:visible").count()
    lab.down("meta", None)


async def test_everything_is_reached_by_keyboard_with_a_visible_focus(chromium: Any, gateway: Running) -> None:
    await gateway.send(purchase("e-1"))
    await gateway.idle()
    async with opened(chromium, gateway) as page:
        await page.wait_for_selector("#events-body tr a")
        seen = []
        for _ in range(60):
            await page.keyboard.press("Tab")
            found = await page.evaluate(
                """() => { const one = document.activeElement, style = getComputedStyle(one);
                return [one.id || one.textContent.trim().slice(0, 20), parseFloat(style.outlineWidth), style.outlineStyle]; }"""
            )
            seen.append(found[0])
            assert found[1] >= 2, f"no visible focus: {found}"
            assert found[2] != "none", f"no visible focus: {found}"
            if found[0] == "purchase":
                break
        assert seen[0] == "Skip to the events"
        assert {"find-input", "theme", "tab-events", "filter-text", "filter-destination", "pause", "purchase"} <= set(seen)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#story h1:has-text('purchase')")
        assert await page.evaluate("document.activeElement.tagName") == "H1", "a screen reader starts at the story's title"
        await page.go_back()
        await page.focus("#tab-events")
        await page.keyboard.press("ArrowRight")
        await page.wait_for_selector("#dead .empty:visible")
        assert await page.get_attribute("#tab-dead", "aria-selected") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_every_text_can_be_read_and_nothing_is_wider_than_the_screen(
    chromium: Any, gateway: Running, lab: Lab, size: dict[str, int], scheme: str
) -> None:
    lab.down("tiktok", "500")
    await gateway.send(
        [purchase("e-1"), purchase("e-2", consent=DENIED), {"name": "a_very_long_custom_event_name_of_a_shop" * 2}]
    )
    await gateway.send([purchase("e-3", props={"value": 3}), purchase("e-4", device={"user_agent": "Googlebot/2.1"})])
    await asyncio.sleep(0.5)
    async with opened(chromium, gateway, size=size, scheme=scheme) as page:
        for path in ("#/", "#/dead", "#/event/e-1", "#/event/e-2"):
            await page.goto(f"{base_of(page)}/{path}")
            await page.wait_for_selector(".destination:visible, .to-one:visible")
            await page.wait_for_timeout(700)
            assert await page.evaluate(CONTRASTS) == [], path
            assert await page.evaluate(WIDER) <= 0, path
    lab.down("tiktok", None)


async def test_light_and_dark_are_switched_and_remembered(chromium: Any, gateway: Running) -> None:
    async with opened(chromium, gateway) as page:
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        light = await page.evaluate(ground)
        await page.click("#theme")
        dark = await page.evaluate(ground)
        assert light != dark
        await page.reload()
        assert await page.evaluate(ground) == dark


async def test_somebody_logs_in_and_out(chromium: Any, tmp_path: Path, lab: Lab) -> None:
    path = write_files(tmp_path, lab_files(lab))
    gateway_yaml = path.read_text().replace("admin:\n", "admin:\n  token: the-admin-token\n")
    async with running(tmp_path, lab_files(lab)) as gateway:
        path.write_text(gateway_yaml)
        await gateway.app.reload()
        async with opened(chromium, gateway, refused=4) as page:
            await page.wait_for_selector("#login:visible")
            assert not await page.locator("#home:visible").count()
            await page.fill("#token", "wrong")
            await page.click("#login button")
            await page.wait_for_selector("#login-error:has-text('not the admin token')")
            await page.fill("#token", "the-admin-token")
            await page.press("#token", "Enter")
            await page.wait_for_selector("article[aria-label=meta]")
            assert await page.evaluate("document.cookie") == "", "scripts cannot read it"
            await page.click("#logout")
            await page.wait_for_selector("#login:visible")


async def test_ten_thousand_events_a_minute_leave_the_page_and_the_gateway_responsive(chromium: Any, gateway: Running) -> None:
    async with opened(chromium, gateway) as page:
        await page.wait_for_selector("article[aria-label=meta]")
        await page.evaluate(LONG_TASKS)
        heap = "performance.memory.usedJSHeapSize"
        began, sent, waits, heaps = time.monotonic(), 0, [], []
        while time.monotonic() - began < 20:
            due = began + sent / (10_000 / 60)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            asked = time.monotonic()
            await gateway.send([purchase(f"e-{sent + n}", consent=GRANTED if n % 3 else DENIED) for n in range(10)])
            waits.append(time.monotonic() - asked)
            sent += 10
            if sent % 500 == 0:
                heaps.append(await page.evaluate(heap))
        await page.click("#pause")
        assert await page.get_attribute("#pause", "aria-pressed") == "true"
        await page.click("#pause")
        await until(page, "document.querySelectorAll('#events-body tr').length === 500")
        tasks = sorted(await page.evaluate("window.longTasks"))
        assert await page.evaluate("document.querySelectorAll('*').length") < 20_000
        assert sent > 3000, "the load itself was not kept up"
    assert not tasks or tasks[-1] < 500, f"longest tasks {tasks[-5:]} ms"
    assert sum(tasks) < 0.3 * 20_000, f"{sum(tasks):.0f} ms of 20 s in long tasks"
    assert heaps[-1] < heaps[len(heaps) // 2] * 2 + 20e6, [round(size / 1e6) for size in heaps]
    assert sorted(waits)[len(waits) // 2] < 0.1, f"a hit took {sorted(waits)[len(waits) // 2] * 1000:.0f} ms in the middle"

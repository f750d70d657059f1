"""The demo, played in a browser: consent, a vendor that is down, a gateway that is killed, the story of an order."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.demo_kit import VENDORS, DemoProcess, Visitor, chromium, demo_process, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProcess]:
    with demo_process(tmp_path_factory.mktemp("demo")) as running:
        yield running
        assert running.books()["balanced"] is True


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def visitor(demo: DemoProcess, browser: Browser) -> Iterator[Visitor]:
    context = browser.new_context(viewport={"width": 1366, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    elsewhere: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda one: None if _here(one.url) else elsewhere.append(one.url))
    page.goto(demo.url)
    yield Visitor(page)
    context.close()
    assert faults == []
    assert elsewhere == [], "something was loaded from another machine"


def _here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "http://localhost:", "data:"))


def purchases(demo: DemoProcess, vendor: str, order: str) -> list[dict[str, Any]]:
    """The purchases of an order in a vendor's inbox; the order number stands somewhere in each payload."""
    entries = demo.get("lab", f"/inbox/{vendor}")
    return [one for one in entries if one["name"].lower() == "purchase" and f"'{order}'" in repr(one["payload"])]


def test_a_purchase_with_consent_reaches_four_inboxes(demo: DemoProcess, visitor: Visitor) -> None:
    visitor.says("all")
    order = visitor.buys()
    for vendor in VENDORS:
        assert "Got it once" in visitor.cell(order, vendor, "got")
        assert [one["accepted"] for one in purchases(demo, vendor, order)] == [True], vendor
    assert visitor.latest() == f"Order {order}: All four vendors got the purchase."
    until(lambda: "First event delivered" in demo.printed(), 10, "the time of the first delivery was not printed")
    seconds = re.search(r"First event delivered ([\d.]+) s after the start", demo.printed())
    assert seconds
    assert float(seconds[1]) <= 60


@pytest.mark.parametrize(
    ("consent", "words", "signal"),
    [
        ("necessary", {"meta": "the visitor said no to ads", "ga4": "the visitor said no to statistics"}, "is denied (event)"),
        ("unasked", dict.fromkeys(("meta", "ga4"), "the visitor has not answered"), "is unknown: no signal on the hit"),
    ],
)
def test_without_consent_no_vendor_gets_anything_and_the_page_says_which_signal_decided(
    demo: DemoProcess, visitor: Visitor, consent: str, words: dict[str, str], signal: str
) -> None:
    before = {vendor: len(demo.get("lab", f"/inbox/{vendor}")) for vendor in VENDORS}
    visitor.says(consent)
    order = visitor.buys()
    said = {vendor: visitor.cell(order, vendor, "no") for vendor in VENDORS}
    for vendor, text in words.items():
        assert text in said[vendor]
    assert all(signal in text for text in said.values()), said
    assert all(text in visitor.latest() for text in words.values())
    assert {vendor: len(demo.get("lab", f"/inbox/{vendor}")) for vendor in VENDORS} == before


def test_statistics_without_ads_reach_only_who_needs_no_more(demo: DemoProcess, visitor: Visitor) -> None:
    visitor.says("statistics")
    order = visitor.buys()
    for vendor, state in {"meta": "no", "ga4": "got", "tiktok": "no", "webhook": "got"}.items():
        visitor.cell(order, vendor, state)
        assert len(purchases(demo, vendor, order)) == (state == "got")


def test_the_banner_asks_until_the_visitor_has_answered(visitor: Visitor) -> None:
    banner = visitor.page.locator("#banner")
    assert banner.is_visible()
    visitor.page.click("#banner >> text=Only necessary")
    assert banner.is_hidden()
    assert visitor.page.is_checked("#consent input[value=necessary]")
    assert "_ga" not in visitor.page.evaluate("document.cookie")


def test_it_works_under_the_other_name_of_this_machine(demo: DemoProcess, visitor: Visitor) -> None:
    visitor.page.goto(demo.url.replace("127.0.0.1", "localhost"))
    visitor.says("all")
    order = visitor.buys()
    for vendor in VENDORS:
        visitor.cell(order, vendor, "got")


@pytest.mark.parametrize("mode", ["500", "401"])
def test_a_vendor_that_is_down_gets_the_purchase_when_it_is_up_again(demo: DemoProcess, visitor: Visitor, mode: str) -> None:
    visitor.says("all")
    visitor.switch("meta").click()
    visitor.page.select_option(".vendor[data-vendor=meta] select", mode)
    order = visitor.buys()
    visitor.page.get_by_text(re.compile(r"\d tr(y|ies) so far, it is kept on disk")).first.wait_for(timeout=20_000)
    assert "Meta" in visitor.cell(order, "meta", "waiting")
    for vendor in ("ga4", "tiktok", "webhook"):
        visitor.cell(order, vendor, "got")
    assert purchases(demo, "meta", order) == []
    visitor.switch("meta").click()
    assert "Got it once" in visitor.cell(order, "meta", "got", seconds=90)
    assert len(purchases(demo, "meta", order)) == 1


def test_what_is_bought_while_the_gateway_is_killed_arrives_exactly_once(demo: DemoProcess, visitor: Visitor) -> None:
    visitor.says("all")
    earlier = visitor.buys("Notebook")
    before = demo.board()["gateway"]
    visitor.page.click("#kill")
    visitor.page.locator("#gateway[data-state=down]").wait_for()
    order = visitor.buys("Green tea")
    assert "the gateway is down, the shop keeps it" in visitor.cell(order, "meta", "kept")
    assert "The shop keeps" in visitor.page.inner_text("#outbox")
    visitor.page.locator("#gateway[data-state=up]").wait_for(timeout=40_000)
    for vendor in VENDORS:
        assert "Got it once" in visitor.cell(order, vendor, "got", seconds=40)
        assert [one["accepted"] for one in purchases(demo, vendor, order)] == [True], vendor
        # The one before may have been on its way in that moment: sent again, then, under the same id.
        visitor.cell(earlier, vendor, "got", seconds=40)
        assert len({one["id"] for one in purchases(demo, vendor, earlier)}) == 1, vendor
    visitor.page.locator("#outbox").wait_for(state="hidden")
    after = demo.board()["gateway"]
    assert (after["restarts"], after["kills"]) == (before["restarts"] + 1, before["kills"] + 1)
    assert after["pid"] not in (0, before["pid"])
    assert f"process {after['pid']}" in visitor.page.inner_text("#gateway-detail")
    assert demo.books()["balanced"] is True


def test_events_kept_by_the_shop_survive_a_reload_of_the_page(demo: DemoProcess, visitor: Visitor) -> None:
    visitor.says("all")
    visitor.page.click("#kill")
    visitor.page.locator("#gateway[data-state=down]").wait_for()
    order = visitor.buys("Notebook")
    visitor.page.reload()
    visitor.page.click("#start")
    for vendor in VENDORS:
        visitor.cell(order, vendor, "got", seconds=40)
        assert len(purchases(demo, vendor, order)) == 1


@pytest.mark.parametrize("consent", ["all", "necessary"])
def test_an_orders_whole_story_opens_on_the_gateways_page(visitor: Visitor, consent: str) -> None:
    visitor.says(consent)
    order = visitor.buys()
    visitor.cell(order, "meta", "got" if consent == "all" else "no")
    with visitor.page.context.expect_page() as opened:
        visitor.page.click(f"[data-order='{order}'] >> text=whole story")
    story = opened.value.locator("#story")
    story.get_by_text("meta").first.wait_for()
    words = story.inner_text()
    assert "purchase" in words
    assert f"order {order}" in words
    assert consent == "all" or "ad_storage is denied" in words, words


def test_all_of_it_can_be_done_with_the_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    page.focus(".vendor[data-vendor=tiktok] [role=switch]")
    page.keyboard.press("Space")
    page.locator(".vendor[data-vendor=tiktok] [aria-checked=true]").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "TikTok is down", "the focus was lost"
    page.keyboard.press("Space")
    page.locator(".vendor[data-vendor=tiktok] [aria-checked=false]").wait_for()
    page.focus("#consent input[value=unasked]")
    page.keyboard.press("ArrowLeft")
    assert page.is_checked("#consent input[value=necessary]")
    page.focus("[aria-label='Add Notebook to the cart']")
    page.keyboard.press("Enter")
    assert page.inner_text("#cart-count") == "1"


_STICKING_OUT = """() => [...document.querySelectorAll("fieldset, fieldset label, .switch, .switch *, .bar > *, .shop button")]
    .filter((one) => one.getBoundingClientRect().right > one.parentElement.getBoundingClientRect().right + 1)
    .map((one) => one.outerHTML)"""


@pytest.mark.parametrize(("width", "columns"), [(390, 1), (1024, 2), (1280, 2), (1366, 2)])
def test_it_fits_a_phone_and_a_desktop(visitor: Visitor, width: int, columns: int) -> None:
    visitor.page.set_viewport_size({"width": width, "height": 800})
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visitor.page.evaluate(_STICKING_OUT) == []
    shop, vendors = (visitor.page.locator(one).bounding_box() for one in ("#shop", "#vendors"))
    assert shop
    assert vendors
    assert (vendors["x"] > shop["x"]) is (columns == 2)


def test_without_scripts_the_pixel_still_counts_the_visit(demo: DemoProcess, browser: Browser) -> None:
    before = _accepted(demo)
    context = browser.new_context(java_script_enabled=False)
    context.new_page().goto(demo.url)
    until(lambda: _accepted(demo) == before + 1, 10, "the pixel's event did not arrive")
    context.close()


def _accepted(demo: DemoProcess) -> int:
    time.sleep(0.1)
    return sum(int(row["accepted"]) for row in demo.get("admin", "/ledger")["sources"])

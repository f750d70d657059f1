"""Records the demo for the documentation: `python -m tests.record_demo` plays it in a browser and writes docs/demo*.

docs/demo-light.png, docs/demo-dark.png and docs/demo-phone.png are screenshots, docs/demo.gif is the short film: a purchase,
one without consent, Meta down and up again, the gateway killed and back. A file over its limit ends the run with an error.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize

from tests.demo_kit import VENDORS, DemoProcess, Visitor, chromium, demo_process

DOCS = Path(__file__).parents[1] / "docs"
DESKTOP: ViewportSize = {"width": 1366, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
Scheme = Literal["light", "dark"]
FILM_WIDTH = 1000
COLOURS = 160
MAX_PNG, MAX_GIF = 300_000, 2_000_000


class Film:
    """Frames with the milliseconds each is shown."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._frames: list[tuple[Image.Image, int]] = []

    def shot(self, ms: int) -> None:
        """What is on the screen now."""
        self._frames.append((_image(self._visitor.page.screenshot()), ms))

    def save(self, path: Path) -> None:
        """As an animated GIF that starts again."""
        size = (FILM_WIDTH, round(FILM_WIDTH * DESKTOP["height"] / DESKTOP["width"]))
        small = [frame.resize(size, Image.Resampling.LANCZOS) for frame, _ in self._frames]
        first, *rest = [frame.quantize(COLOURS, dither=Image.Dither.NONE) for frame in small]
        times = [ms for _, ms in self._frames]
        first.save(path, save_all=True, append_images=rest, duration=times, loop=0, optimize=True)


def _image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def _all_got(visitor: Visitor, order: str, seconds: float = 90) -> None:
    for vendor in VENDORS:
        visitor.cell(order, vendor, "got", seconds)
    time.sleep(0.8)


def play(visitor: Visitor, film: Film) -> None:
    """The scenes of the film."""
    page = visitor.page
    time.sleep(1)
    film.shot(1600)
    page.click("#banner >> text=Accept all")
    page.click("[aria-label='Add Desk lamp to the cart']")
    film.shot(900)
    page.click("text=Go to checkout")
    film.shot(900)
    page.click("button[type=submit]")
    _all_got(visitor, page.inner_text("#order-number"))
    film.shot(2600)
    page.click("text=Buy something else")
    visitor.says("necessary")
    film.shot(1000)
    visitor.cell(visitor.buys("Green tea"), "meta", "no")
    time.sleep(0.5)
    film.shot(2800)
    _vendor_down(visitor, film)
    _killed(visitor, film)


def _vendor_down(visitor: Visitor, film: Film) -> None:
    visitor.says("all")
    visitor.switch("meta").click()
    time.sleep(0.5)
    film.shot(1200)
    order = visitor.buys("Notebook")
    visitor.page.get_by_text("so far, it is kept on disk").first.wait_for()
    film.shot(2600)
    visitor.switch("meta").click()
    time.sleep(0.4)
    film.shot(1000)
    _all_got(visitor, order)
    film.shot(2000)


def _killed(visitor: Visitor, film: Film) -> None:
    page = visitor.page
    page.click("#kill")
    page.locator("#gateway[data-state=down]").wait_for()
    film.shot(1500)
    order = visitor.buys("Enamel cup")
    visitor.cell(order, "meta", "kept")
    time.sleep(0.3)
    film.shot(2600)
    page.locator("#gateway[data-state=up]").wait_for(timeout=40_000)
    _all_got(visitor, order)
    film.shot(3200)


def stills(demo: DemoProcess, browser: Browser) -> None:
    """The screenshots, while Meta is down and one visitor said no."""
    visitor = Visitor(_page(demo, browser, "light", DESKTOP))
    visitor.says("statistics")
    visitor.cell(visitor.buys("Desk lamp"), "ga4", "got")
    visitor.says("all")
    visitor.switch("meta").click()
    order = visitor.buys("Green tea")
    visitor.cell(order, "tiktok", "got")
    visitor.page.get_by_text("so far, it is kept on disk").first.wait_for()
    looks: tuple[tuple[str, Scheme, ViewportSize], ...] = (
        ("light", "light", DESKTOP),
        ("dark", "dark", DESKTOP),
        ("phone", "light", PHONE),
    )
    for name, scheme, size in looks:
        page = _page(demo, browser, scheme, size)
        page.check("#consent input[value=all]", force=True)
        page.locator(f"[data-order='{order}']").wait_for()
        time.sleep(1)
        if size is PHONE:
            page.evaluate("document.getElementById('latest').scrollIntoView()")
        save_png(page.screenshot(), DOCS / f"demo-{name}.png")
    visitor.switch("meta").click()


def save_png(png: bytes, path: Path) -> None:
    """With a palette: screenshots have few colours."""
    _image(png).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def _page(demo: DemoProcess, browser: Browser, scheme: Scheme, size: ViewportSize) -> Page:
    context = browser.new_context(color_scheme=scheme, viewport=size)
    page = context.new_page()
    page.goto(demo.url)
    return page


def main() -> int:
    """Record everything; 1 when a file is larger than it may be."""
    with tempfile.TemporaryDirectory() as folder, demo_process(Path(folder)) as demo, chromium() as browser:
        visitor = Visitor(_page(demo, browser, "light", DESKTOP))
        film = Film(visitor)
        play(visitor, film)
        film.save(DOCS / "demo.gif")
        visitor.page.context.close()
        stills(demo, browser)
    large = [
        f"{path.name} has {path.stat().st_size} bytes, {limit} are allowed"
        for path, limit in [(DOCS / "demo.gif", MAX_GIF), *((path, MAX_PNG) for path in DOCS.glob("demo-*.png"))]
        if path.stat().st_size > limit
    ]
    print("\n".join(large) or f"wrote {DOCS}/demo.gif and demo-light, demo-dark, demo-phone.png")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())

"""The dashboard's pictures in docs/images: python -m tests.web.screenshots.

A region falls behind while the pictures' minute goes by; everything else is as it would be.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright
from tests.web.browser import REMEDY, found
from tests.web.stand import AP, THREE, TOKEN, Stand, busy, eventful

IMAGES = Path(__file__).parents[2] / "docs" / "images"

DESK = ViewportSize(width=1_120, height=800)
PHONE = ViewportSize(width=390, height=844)

SECONDS = 40.0


def taken(page: Page, name: str, *, whole: bool = True) -> None:
    page.wait_for_timeout(1_500)
    page.screenshot(path=IMAGES / name, full_page=whole)
    print(f"docs/images/{name}")  # noqa: T201


def main() -> None:
    program = found()
    if program is None:
        sys.exit(REMEDY)
    with (
        tempfile.TemporaryDirectory() as folder,
        Stand(Path(folder), THREE) as stand,
        sync_playwright() as playwright,
    ):
        stand.throttled.add(AP)
        eventful(stand, name="session-0031", note="back on Monday")
        busy(stand, SECONDS)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=DESK)
        page.goto(f"{stand.url}#token={TOKEN}")
        taken(page, "dashboard.png")
        page.goto(f"{stand.url}#/mirror/sessions")
        page.get_by_role("row", name="session-0007").get_by_role("button").click()
        page.get_by_role("region", name="Images of").wait_for()
        page.locator(".images tbody").wait_for()
        page.locator("section").filter(has_text="Conflicts").last.screenshot(
            path=IMAGES / "dashboard-conflict.png"
        )
        dark = browser.new_page(viewport=DESK, color_scheme="dark")
        dark.goto(stand.url)
        taken(dark, "dashboard-dark.png", whole=False)
        phone = browser.new_page(viewport=PHONE, color_scheme="dark", device_scale_factor=2)
        phone.goto(stand.url)
        taken(phone, "dashboard-phone.png", whole=False)
        browser.close()


if __name__ == "__main__":
    main()

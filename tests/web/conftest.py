"""A browser for all tests, and pages that see everything that goes over the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.web.browser import REMEDY, found
from tests.web.stand import TOKEN, Stand

# As long as pages wait themselves: on a busy machine five seconds are none.
WAIT_MS = 20_000
expect.set_options(timeout=WAIT_MS)


# Not for the session: while it is there, this thread has a running event loop, and what comes after
# could not run one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = found()
    assert program is not None, REMEDY
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page of a stand's; what it asks for elsewhere, and what goes wrong in it, fails."""
    faults: list[str] = []
    pages: list[Page] = []

    def open_one(stand: Stand, path: str = "", *, token: bool = True, **options: Any) -> Page:
        page = browser.new_page(**{"viewport": {"width": 1_200, "height": 900}, **options})
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(stand.url)
                else faults.append(f"asked elsewhere: {request.url}")
            ),
        )
        page.on(
            "console",
            lambda said: faults.append(said.text) if "Content Security" in said.text else None,
        )
        pages.append(page)
        page.goto(f"{stand.url}#token={TOKEN}" if token else f"{stand.url}{path}")
        if token and path:
            page.goto(f"{stand.url}{path}")
        return page

    yield open_one
    for page in pages:
        page.close()
    assert faults == []

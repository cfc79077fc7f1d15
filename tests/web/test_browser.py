"""The dashboard in a real browser, on a real engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect
from tests.web.stand import AP, EU, HOSTILE, ONE, THREE, US, Stand, eventful, story

WEIGHT_BYTES_MAX = 150_000

OpenPage = Callable[..., Page]


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    """One mirror, its engine running."""
    with Stand(tmp_path) as made:
        made.run()
        yield made


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Three regions, one of them behind; a parked key; conflicts, one of them hostile. Only for
    tests that look: nothing is changed.
    """
    with Stand(tmp_path_factory.mktemp("troubled"), THREE) as made:
        eventful(made)
        made.until(lambda: made.watch_states().get("stories") == "behind")
        made.until(lambda: any(one.conflicts for one in made.watch.statuses()))
        yield made


def attribute(images: Locator, name: str) -> Locator:
    """Return the row of an attribute."""
    named = images.page.locator("th", has_text=re.compile(f"^{name}"))
    return images.locator("tbody tr").filter(has=named)


def drawn_anew(page: Page) -> None:
    """Wait until the page is drawn anew: it is whenever what was asked is answered."""
    for _ in range(2):  # when it asks again, the answer before is drawn
        with page.expect_response(re.compile("/api/state")):
            pass


def test_it_moves_by_itself(stand: Stand, open_page: OpenPage) -> None:
    """A change made now shows in figures, lines and map, and nobody reloads anything."""
    page = open_page(stand)
    expect(page.get_by_role("heading", name="All 1 link up to date")).to_be_visible()
    page.evaluate("document.body.dataset.same = 'yes'")
    stand.until(lambda: any(map(len, stand.watch.series.since(0).values())))

    for number in range(30):
        stand.put(US, "Stories", story(f"a{number}", number))

    expect(page.locator(".map .dot").first).to_be_attached()
    expect(page.locator(".links tbody")).to_contain_text(re.compile(r"[1-9]\d*(\.\d)?/s"))
    assert stand.items(EU, "Stories") == 30
    page.goto(f"{stand.url}#/mirror/stories")
    expect(page.locator("main")).to_contain_text("Applied30")
    assert page.evaluate("document.body.dataset.same") == "yes"


def test_who_never_saw_it_learns_what_to_do(troubled: Stand, open_page: OpenPage) -> None:
    """Which region is behind, by how much, why, how many hours are left, what to type."""
    page = open_page(troubled)
    card = page.locator(".verdict article").first

    expect(card.get_by_role("heading")).to_have_text(f"{AP} is 2.0 h behind {US}")
    expect(card).to_contain_text("the table's write capacity is used up")
    expect(card).to_contain_text("22 hours, then the stream drops changes")
    expect(card).to_contain_text("Raise the write capacity")
    expect(card.get_by_text("dynamirror redrive mirrors.toml")).to_be_visible()
    assert "dynamirror: behind" in page.title()


def test_a_target_that_throttles_is_away_and_back(tmp_path: Path, open_page: OpenPage) -> None:
    """Since when, why, how many keys wait: no redrive is asked for, the engine does it."""
    with Stand(tmp_path, ONE.replace("source =", "backlog_seconds = 1\nsource =")) as stand:
        stand.throttled = {EU}
        stand.run()
        for number in range(3):
            stand.put(US, "Stories", story(f"a{number}"))
        stand.until(lambda: stand.watch_states() == {"stories": "away"})
        page = open_page(stand)
        card = page.locator(".verdict article")

        expect(card.get_by_role("heading")).to_have_text(
            re.compile(rf"{EU} is away, [1-9].* behind {US}")
        )
        expect(card).to_contain_text("the table's write capacity is used up; no write was taken")
        expect(card).to_contain_text("Raise the write capacity")
        expect(card).to_contain_text("what it lacks is parked")
        expect(page.locator(".map .chip").first).to_contain_text(re.compile(r"^stories[1-9]"))
        expect(card).to_contain_text("keys that wait for it: 3")
        assert card.get_by_text("dynamirror redrive").count() == 0

        stand.throttled.clear()
        expect(page.get_by_role("heading", name="All 1 link up to date")).to_be_visible()
        assert stand.items(EU, "Stories") == 3


def test_a_link_is_paused_and_resumed(stand: Stand, open_page: OpenPage) -> None:
    """A click, a reason, a second click: nothing arrives until it is resumed."""
    page = open_page(stand, "#/mirror/stories")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_label("Why").fill("index build")
    page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).click()

    expect(page.locator(".verdict")).to_contain_text(
        re.compile("paused by the dashboard since .* until it is resumed: index build")
    )
    stand.put(US, "Stories", story("a"))
    stand.until(lambda: stand.consumers[0].report().unread_ms > 1_000)  # four looks left out
    assert stand.items(EU, "Stories") == 0

    page.get_by_role("button", name="Resume", exact=True).click()
    stand.until(lambda: stand.items(EU, "Stories") == 1)
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()


def test_one_of_several_links_is_paused(tmp_path: Path, open_page: OpenPage) -> None:
    """Its target gets nothing, the others do, and the page says since when it waits."""
    with Stand(tmp_path, THREE) as stand:
        stand.run()
        page = open_page(stand, "#/mirror/stories")
        page.get_by_role("button", name=f"Pause {AP} alone").click()
        page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).click()
        expect(page.get_by_role("heading", name=f"{AP} is paused")).to_be_visible()
        stand.put(US, "Stories", story("a"))
        stand.until(lambda: stand.items(EU, "Stories") == 1)

        verdict = page.locator(".verdict")
        expect(verdict).to_contain_text(f"{AP}: paused by the dashboard since 20")
        expect(verdict).to_contain_text(f"resume mirrors.toml --link stories/{US} --target {AP}")
        expect(page.locator("main")).to_contain_text("Waiting for it1 key")
        assert stand.items(AP, "Stories") == 0
        assert verdict.get_by_text("redrive").count() == 0

        page.get_by_role("button", name=f"Resume {AP} alone").click()
        stand.until(lambda: stand.items(AP, "Stories") == 1)
        expect(page.get_by_role("button", name=f"Pause {AP} alone")).to_be_visible()


def test_a_question_is_left_with_the_keyboard(stand: Stand, open_page: OpenPage) -> None:
    """Escape answers no, and the focus is where it was."""
    page = open_page(stand, "#/mirror/stories")
    button = page.get_by_role("button", name="Pause", exact=True)
    expect(button).to_be_visible()
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).not_to_be_visible()
    expect(button).to_be_focused()
    drawn_anew(page)
    expect(button).to_be_focused()
    assert stand.watch.statuses()[0].pauses == []


def test_everything_is_reached_with_the_keyboard(troubled: Stand, open_page: OpenPage) -> None:
    """Tab goes through every link and button, the way past the header first."""
    page = open_page(troubled)
    expect(page.locator(".links")).to_be_visible()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.slice(0, 30)"))

    assert reached[0] == "To the content"
    assert "stories" in reached
    assert "sessions" in reached
    assert "Copy" in reached


def test_conflicts_show_both_images_and_their_difference(
    troubled: Stand, open_page: OpenPage
) -> None:
    """Side by side, attribute by attribute; what differs is marked by more than a colour."""
    page = open_page(troubled, "#/mirror/sessions")
    row = page.get_by_role("row", name="session-0007")
    row.get_by_role("button", name="Compare").click()
    images = page.get_by_role("region", name="Images of")

    basket = attribute(images, "basket")
    expect(basket).to_contain_text("differs")
    expect(basket.locator("td").nth(0)).to_have_text("[7, 9]")
    expect(basket.locator("td").nth(1)).to_have_text("[7]")
    expect(attribute(images, "version")).not_to_contain_text("differs")
    expect(attribute(images, "_mirror")).not_to_contain_text("differs")


def test_hostile_items_are_text(troubled: Stand, open_page: OpenPage) -> None:
    """A script in a key or a value is read, not run."""
    page = open_page(troubled, "#/mirror/sessions")
    row = page.get_by_role("row").filter(has_text="<script>")
    expect(row).to_contain_text(HOSTILE.replace('"', '\\"'))
    row.get_by_role("button", name="Compare").click()
    note = attribute(page.get_by_role("region", name="Images of"), "note")

    expect(note.locator("td").nth(0)).to_contain_text("<script>")
    assert page.locator("main script, main img").count() == 0
    assert page.title().startswith("dynamirror: ")


def test_what_lost_is_restored(tmp_path: Path, open_page: OpenPage) -> None:
    """The loser comes back as a new version of its item, in every region."""
    with Stand(tmp_path, THREE) as stand:
        eventful(stand)
        page = open_page(stand, "#/mirror/sessions")
        row = page.get_by_role("row", name="session-0007")
        row.get_by_role("button", name="Compare").click()
        page.get_by_role("button", name="Restore what lost").click()
        page.get_by_role("dialog").get_by_role("button", name="Restore").click()

        expect(page.locator(".said")).to_contain_text("is a new version of its item")
        for region in (US, EU):
            stand.until(partial(stand.has_page, region, "session-0007", "basket"))


def test_parked_keys_are_redriven(tmp_path: Path, open_page: OpenPage) -> None:
    """With the cause mended, a click brings the key up to date."""
    with Stand(tmp_path, THREE) as stand:
        eventful(stand)
        stand.throttled.clear()
        page = open_page(stand, "#/mirror/stories")
        expect(page.get_by_role("row", name="poison-1")).to_contain_text("exceeded 400 KB")
        stand.refuses = False
        page.get_by_role("button", name="Redrive", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="Redrive", exact=True).click()

        expect(page.locator(".said")).to_contain_text("1 keys redriven")
        stand.until(lambda: "poison-1" in str(stand.regions[EU].table("Stories").items))


def test_before_anything_runs_it_says_what_to_type(tmp_path: Path, open_page: OpenPage) -> None:
    """An empty state is an invitation."""
    with Stand(tmp_path) as stand:
        page = open_page(stand)

        expect(page.get_by_role("heading", name=f"{US} was never followed")).to_be_visible()
        expect(page.get_by_text("dynamirror check mirrors.toml").first).to_be_visible()
        assert "not started" in page.title()


def test_what_cannot_be_looked_at_is_told(tmp_path: Path, open_page: OpenPage) -> None:
    """A table that is gone is an error with its remedy, beside mirrors that are well."""
    with Stand(tmp_path) as stand:
        stand.drop(US, "Stories")
        page = open_page(stand)

        # The next look may be a while off: it is not for pages to hurry it.
        told = page.get_by_role("heading", name="stories can't be looked at")
        expect(told).to_be_visible(timeout=40_000)
        expect(page.locator(".verdict")).to_contain_text("no table us-east-1/Stories")


def test_a_lost_connection_is_seen_and_mends_itself(stand: Stand, open_page: OpenPage) -> None:
    """Old figures are never taken for new ones."""
    page = open_page(stand)
    expect(page.locator(".live")).to_have_text("live")
    stand.serve_no_more()

    expect(page.get_by_role("alert")).to_contain_text("dynamirror has not answered")
    expect(page.get_by_role("alert")).to_contain_text("What stands below was so at")
    expect(page.locator(".live")).to_have_text("no answer")
    assert page.title() == "dynamirror: no answer"

    stand.serve_again()
    expect(page.locator(".live")).to_have_text("live")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_stopped_engine_is_told(stand: Stand, open_page: OpenPage) -> None:
    """When nobody reads any more, the page says so within seconds, and what to type."""
    page = open_page(stand)
    expect(page.get_by_role("heading", name="All 1 link up to date")).to_be_visible()
    stand.halt()

    expect(page.get_by_role("heading", name=f"Nobody reads {US}")).to_be_visible()
    expect(page.get_by_text("dynamirror run mirrors.toml").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1_200])
@pytest.mark.parametrize("path", ["", "#/mirror/stories", "#/mirror/sessions"])
def test_it_is_accessible_and_fits(
    path: str, width: int, scheme: str, troubled: Stand, open_page: OpenPage
) -> None:
    """No violation that axe knows, in either scheme, on a phone and a desk; no sideways scroll."""
    page = open_page(troubled, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
    expect(page.locator(".chart").first).to_be_visible()
    if path.endswith("sessions"):
        page.get_by_role("row", name="session-0007").get_by_role("button").click()
        expect(page.locator(".images tbody")).to_be_visible()

    result = Axe().run(page)

    assert result.violations_count == 0, result.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 27)"
    assert dark == (scheme == "dark")


def test_who_wants_stillness_gets_it(troubled: Stand, open_page: OpenPage) -> None:
    """With reduced motion nothing runs along the arrows."""
    page = open_page(troubled, reduced_motion="reduce")
    expect(page.locator(".map .link").first).to_be_attached()
    drawn_anew(page)

    assert page.locator(".map .dot").count() == 0


def test_without_the_token_one_only_looks(stand: Stand, open_page: OpenPage) -> None:
    """No button is shown that would not do anything."""
    page = open_page(stand, "#/mirror/stories", token=False)
    expect(page.get_by_role("heading", name="From us-east-1/Stories")).to_be_visible()

    assert page.get_by_role("button", name="Pause", exact=True).count() == 0


def test_the_page_is_light(tmp_path: Path, open_page: OpenPage) -> None:
    """All of it together, the first document included."""
    with Stand(tmp_path, ONE) as stand:
        page = open_page(stand)
        expect(page.locator(".live")).to_have_text("live")
        sizes = page.evaluate(
            "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
            ".map((one) => one.decodedBodySize)"
        )

        assert 40_000 < sum(sizes) < WEIGHT_BYTES_MAX


def test_an_unknown_mirror_has_a_way_back(stand: Stand, open_page: OpenPage) -> None:
    page = open_page(stand, "#/mirror/novels")

    expect(page.get_by_role("heading", name="There is no mirror novels")).to_be_visible()
    page.get_by_role("link", name="All mirrors").click()
    expect(page.locator(".map")).to_be_visible()

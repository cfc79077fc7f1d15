"""``check`` tells what a sample of the source's items becomes through every view."""

from __future__ import annotations

import pytest
from tests.engine.regions import SOURCE, TARGET

from dynamirror.config.load import load
from dynamirror.config.model import Guard, Mirror
from dynamirror.core.values import Wire
from dynamirror.engine.tables.findings import Finding, Severity
from dynamirror.engine.tables.through import findings
from dynamirror.errors import ConfigError
from dynamirror.wiring import target_views_of

ONE_WAY = f"""
[mirrors.stories]
mode = "one-way"
source = {{ region = "{SOURCE.region}", table = "{SOURCE.table}" }}
targets = [{{ region = "{TARGET.region}" }}]
"""


def larger(image: Wire) -> Wire:
    return {**image, "more": {"S": "x" * 400_000}}


def item(name: str, **more: Wire) -> Wire:
    return {"id": {"S": name}, "kind": {"S": "public"}, "value": {"N": "1"}, **more}


ITEMS = [item("a"), item("b"), item("c", kind={"S": "a#b"}), item("d", kind={"S": "private"})]


def told(text: str, items: list[Wire]) -> tuple[list[Finding], list[str]]:
    (mirror, *_) = load(f"{ONE_WAY}{text}\n").mirrors
    found = list(findings(mirror, lambda: target_views_of(mirror, ()), items, ["id"]))
    assert all(one.region == TARGET.region for one in found)
    return found, [one.what for one in found if one.severity is not Severity.NOTE]


def test_how_many_are_in_view_is_told_and_what_it_cost() -> None:
    """A condition that nothing meets is most likely a mistake: one sees it before the backfill."""
    found, unfit = told("where = \"kind = 'public'\"", ITEMS)

    assert unfit == []
    assert found[0].what == (
        "2 of 4 sampled items are in its view; reading them took about 0.5 read units"
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('key = { pk = "{kind}#{id}" }', "1 of 4 sampled items can't be there: another item might"),
        (
            'attributes = { rename = { kind = "value" } }',
            "4 of 4 sampled items can't be there: the",
        ),
        (f'transform = "{__name__}:larger"', ""),
        (f'transform = "{__name__}:told"', "4 of 4 sampled items can't be there: the transform"),
    ],
)
def test_what_could_not_be_at_the_target_is_told_with_its_reason(text: str, what: str) -> None:
    """Keys that could collide, attributes that can't be shown, functions that fail."""
    _, unfit = told(text, ITEMS)

    assert [each[: len(what)] for each in unfit] == ([what] if what else [])


@pytest.mark.parametrize("guard", Guard)
def test_what_grows_over_the_limit_is_told(guard: Guard) -> None:
    """Guard item's mark counts too."""
    large = item("a", text={"S": "x" * 9_550})
    _, unfit = told(f'guard = "{guard}"\ntransform = "{__name__}:larger"', [large, item("b")])

    assert bool(unfit) == (guard is Guard.ITEM)
    _, unfit = told(f'transform = "{__name__}:larger"', [item("a", text={"S": "x" * 10_000})])
    assert unfit == [
        "1 of 1 sampled items can't be there: in its shape there it has more than 409,600 bytes"
    ]


def test_a_two_way_condition_is_looked_at_too() -> None:
    """And one that asks for more than keys is said before the mirror runs."""
    replicas = 'replicas = [{ region = "us-east-1", table = "Stories" }, { region = "eu-west-1" }]'

    def found(where: str) -> list[Finding]:
        mirror: Mirror
        mirror, _ = load(f'[mirrors.m]\nmode = "two-way"\n{replicas}\nwhere = "{where}"').mirrors
        views = target_views_of(mirror, ())
        return list(findings(mirror, lambda: views, ITEMS, ["id"]))

    assert found("id < 'c'")[0].what.startswith("2 of 4")
    assert [one.severity for one in found("kind = 'public'")] == [Severity.UNUSABLE]


def test_a_view_that_cannot_be_had_here_is_told() -> None:
    """Its secret may be only where the mirror runs: the rest of the check goes on."""

    def lacking() -> dict[str, object]:
        raise ConfigError("set the environment variable X")

    (mirror,) = load(f"{ONE_WAY}where = \"id < 'c'\"\n").mirrors
    (one,) = findings(mirror, lacking, ITEMS, ["id"])  # type: ignore[arg-type]

    assert one.severity is Severity.FINDING
    assert "environment variable X" in one.what

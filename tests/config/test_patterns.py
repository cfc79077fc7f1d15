"""A pattern stands for each table that matches it, and for nothing else."""

from __future__ import annotations

import pytest

from dynamirror.config.load import load
from dynamirror.config.patterns import part_of
from dynamirror.errors import ConfigError

PROD = """\
[mirrors.prod]
mode = "two-way"
replicas = [
  { region = "us-east-1", table = "prod-*" },
  { region = "eu-west-1", table = "*-of-prod" },
]
"""


@pytest.mark.parametrize(
    ("pattern", "table", "part"),
    [
        ("prod-*", "prod-a", "a"),
        ("*-prod", "a-prod", "a"),
        ("prod-*-v1", "prod-a-v1", "a"),
        ("prod-*", "prod-", None),
        ("a*a", "aa", None),
        ("aba*aba", "ababa", None),
        ("prod-*", "test-a", None),
        ("prod-*-v1", "prod-a-v2", None),
    ],
)
def test_the_star_is_what_a_name_has_beyond_the_rest(
    pattern: str, table: str, part: str | None
) -> None:
    """At least a character, and no part of the name counts twice."""
    assert part_of(pattern, table) == part


def test_every_place_is_named_after_what_matched() -> None:
    """In a two-way mirror, too: the table that matches is the first replica, the others follow."""
    sides = load(PROD, {"prod": ["prod-carts"]}).mirrors

    assert {side.name for side in sides} == {"prod.prod-carts"}
    assert [side.source.table for side in sides] == ["prod-carts", "carts-of-prod"]


def test_two_stars_are_no_pattern() -> None:
    """Nobody could tell which part is which at the target."""
    with pytest.raises(ConfigError, match="table"):
        load(PROD.replace("prod-*", "prod-*-*"))

"""A share of a large table, as the state machine asks a function for it."""

from __future__ import annotations

from typing import Any

import pytest

from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.runtimes.aws_lambda import CONFIG_VARIABLE
from dynamirror.runtimes.share import TooLargeError, UnfinishedError, handler

CONFIG = """
[mirrors.stories]
mode = "one-way"
source = { region = "us-east-1", table = "Stories" }
targets = [{ region = "eu-west-1" }]
"""
LINK = "stories/us-east-1"
TWO = [{"share": 2}]


class Late:
    """A function whose time is up."""

    def get_remaining_time_in_millis(self) -> int:
        return 0


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, CONFIG)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.mark.parametrize(
    ("do", "error", "told"),
    [
        ("backfill", UnfinishedError, "share 2 of 3 of stories/us-east-1: time is up. Invoke"),
        ("verify", TooLargeError, "share 2 of 3 of stories/us-east-1: time is up. Begin anew"),
    ],
)
def test_a_share_that_runs_out_of_time_says_what_to_do(
    do: str, error: type[DynamirrorError], told: str
) -> None:
    """A copy goes on where it stood, a comparison wants smaller shares: the state machine tells
    them apart by the error's name.
    """
    with pytest.raises(error, match=told):
        handler({"do": do, "link": LINK, "share": 2, "shares": 3}, Late())


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"do": "verfy", "link": LINK, "share": 1, "shares": 1}, 'write "backfill" or "verify"'),
        ({"do": "verify", "link": "other", "share": 1, "shares": 1}, "has the link 'other'"),
        (
            {
                "do": "conclude",
                "of": "verify",
                "link": LINK,
                "shares": 3,
                "results": [{"share": 2}],
            },
            "no result of shares 1, 3 of 3",
        ),
    ],
)
def test_an_event_that_makes_no_sense_is_refused(event: dict[str, Any], told: str) -> None:
    """Nothing is copied, and no comparison is said to be whole that isn't."""
    with pytest.raises(ConfigError, match=told):
        handler(event, Late())

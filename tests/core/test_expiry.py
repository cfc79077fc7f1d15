"""What counts as expired is what DynamoDB deletes."""

from __future__ import annotations

import pytest

from dynamirror.core.expiry import PAST_S_MAX, is_expired
from dynamirror.core.values import Wire

NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("value", "expired"),
    [
        ({"N": str(NOW - 1)}, True),
        ({"N": f"{NOW - 1}.5"}, True),
        ({"N": str(NOW)}, False),
        ({"N": str(NOW + 1)}, False),
        ({"N": str(NOW - PAST_S_MAX)}, True),
        ({"N": str(NOW - PAST_S_MAX - 1)}, False),
        ({"N": str(NOW * 1_000)}, False),
        ({"N": "1E+125"}, False),
        ({"S": str(NOW - 1)}, False),
        ({"NULL": True}, False),
    ],
)
def test_a_number_of_seconds_in_the_last_five_years(value: Wire, *, expired: bool) -> None:
    """Numbers alone count, as seconds; and what is so old that it must be a mistake does not."""
    image = {"id": {"S": "a"}, "until": value}

    assert is_expired(image, "until", NOW) is expired


def test_items_without_the_attribute_never_expire() -> None:
    """Nor do any where time to live is off."""
    assert not is_expired({"id": {"S": "a"}}, "until", NOW)
    assert not is_expired({"until": {"N": "1"}}, None, NOW)

"""What is added to expressions: it means what the caller's meant, and ours besides."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dynamirror.core.condition import parse_condition
from dynamirror.core.update import parse_update
from dynamirror.core.values import Wire, same
from dynamirror.core.words import ExpressionError
from dynamirror.writer.attempts import Putting, updating
from dynamirror.writer.saving import Saving

NAMES = {"#a": "alpha", "#mirror_name": "beta", "#SET": "SET"}
VALUES: Wire = {":n": {"N": "1"}, ":mirror_value": {"N": "2"}, ":s": {"SS": ["x"]}}
KEY: Wire = {"id": {"S": "a"}}
TARGET = Saving("version", None, lambda: 1_000).target("Sessions")

ITEMS = st.fixed_dictionaries(
    {},
    optional={
        name: st.integers(0, 3).map(lambda number: {"N": str(number)})
        for name in ("alpha", "beta", "SET", "plain", "version")
    },
)

PATHS = ["#a", "#mirror_name", "#SET", "plain"]


def cases(keyword: str) -> st.SearchStrategy[str]:
    return st.sampled_from([keyword, keyword.lower(), keyword.title()])


@st.composite
def updates(draw: Any) -> str:
    """Draw an update of each path at most once, its clauses in any order and case."""
    clauses: dict[str, list[str]] = {}
    for path in draw(st.lists(st.sampled_from(PATHS), min_size=1, unique=True)):
        clause = draw(st.sampled_from(["SET", "REMOVE", "ADD"]))
        right = {
            "SET": draw(st.sampled_from([" = :n", "=if_not_exists(version, :n)+:mirror_value"])),
            "REMOVE": "",
            "ADD": " :n",
        }[clause]
        clauses.setdefault(clause, []).append(f"{path}{right}")
    return " ".join(f"{draw(cases(one))} {', '.join(parts)}" for one, parts in clauses.items())


@st.composite
def conditions(draw: Any, depth: int = 2) -> str:
    """Draw a condition as people write them, its parentheses where they like."""
    if depth == 0 or draw(st.booleans()):
        path = draw(st.sampled_from([*PATHS, "version"]))
        return str(
            draw(
                st.sampled_from(
                    [
                        f"{path} = :n",
                        f"attribute_exists({path})",
                        f"{path} BETWEEN :n AND :mirror_value",
                        f"{path} IN (:n, :mirror_value)",
                        f"NOT {path} < :mirror_value",
                    ]
                )
            )
        )
    left, right = draw(conditions(depth - 1)), draw(conditions(depth - 1))
    joined = f"{left} {draw(cases('AND') | cases('OR'))} {right}"
    return str(draw(st.sampled_from([joined, f"({joined})", f"NOT ({joined})"])))


@given(updates(), ITEMS)
def test_a_versioned_update_is_the_callers_and_a_version_more(text: str, rest: Wire) -> None:
    """On every item, whatever clauses it has."""
    item = {**KEY, **rest}
    assert TARGET is not None
    given_request: Wire = {
        "Key": KEY,
        "UpdateExpression": text,
        "ExpressionAttributeNames": NAMES,
        "ExpressionAttributeValues": VALUES,
    }

    sent = updating(TARGET, given_request).request()

    plain = parse_update(text).applied(item, NAMES, VALUES)
    version = str(int(item.get("version", {"N": "1000"})["N"]) + 1)
    versioned = parse_update(sent["UpdateExpression"]).applied(
        item, sent["ExpressionAttributeNames"], sent["ExpressionAttributeValues"]
    )
    assert same(versioned, {**plain, "version": {"N": version}})
    assert given_request["UpdateExpression"] == text


@given(conditions(), ITEMS)
def test_a_put_holds_where_the_callers_condition_and_ours_hold(text: str, rest: Wire) -> None:
    """On every item; and the service can read it."""
    item = {**KEY, **rest}
    assert TARGET is not None
    try:
        plain = parse_condition(text).holds(item, NAMES, VALUES)
    except ExpressionError:
        return  # parentheses around parentheses: the caller's fault
    for version in ("1", "5000"):
        held = {**item, "version": {"N": version}} if "version" in item else item
        plain = parse_condition(text).holds(held, NAMES, VALUES)
        request: Wire = {
            "Item": KEY,
            "ConditionExpression": text,
            "ExpressionAttributeNames": NAMES,
            "ExpressionAttributeValues": VALUES,
        }

        sent = Putting(TARGET, request).request()

        lower = int(held.get("version", {"N": "0"})["N"]) < 1_000
        names, values = sent["ExpressionAttributeNames"], sent["ExpressionAttributeValues"]
        assert parse_condition(sent["ConditionExpression"]).holds(held, names, values) is (
            plain and lower
        )

"""DynamoDB's expression languages, rule by rule."""

from __future__ import annotations

import contextlib
import inspect
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.core.condition import parse_condition
from dynamirror.core.expressions import NESTING_MAX, OPERATORS_MAX, PATH_STEPS_MAX, TEXT_BYTES_MAX
from dynamirror.core.predicates import TYPES
from dynamirror.core.projection import parse_projection, projected
from dynamirror.core.update import parse_update
from dynamirror.core.values import Wire
from dynamirror.core.words import ExpressionError

CPU_S_MAX = 0.5
"""Hundreds of times what the largest text takes."""

ITEM: Wire = {
    "n": {"N": "10"},
    "same": {"N": "10.0"},
    "s": {"S": "hello"},
    "b": {"B": "AQID"},
    "yes": {"BOOL": True},
    "nil": {"NULL": True},
    "ss": {"SS": ["a", "b"]},
    "ns": {"NS": ["1", "2.0"]},
    "bs": {"BS": ["AQ=="]},
    "l": {"L": [{"N": "1"}, {"S": "x"}, {"M": {"deep": {"N": "7"}}}]},
    "m": {"M": {"x": {"N": "1"}, "a.b": {"S": "dotted"}}},
}

NAMES = {"#d": "a.b", "#s": "s", "#m": "m"}

VALUES: dict[str, Wire] = {
    ":9": {"N": "9"},
    ":10": {"N": "1E1"},
    ":11": {"N": "11.0"},
    ":1": {"N": "1"},
    ":2": {"N": "2"},
    ":3": {"N": "3"},
    ":big": {"N": "12345678901234567890123456789012345678"},
    ":hello": {"S": "hello"},
    ":he": {"S": "he"},
    ":ell": {"S": "ell"},
    ":a": {"S": "a"},
    ":z": {"S": "z"},
    ":S": {"S": "S"},
    ":N": {"S": "N"},
    ":bin": {"B": "AQID"},
    ":binhead": {"B": "AQ=="},
    ":bintail": {"B": "AwQ="},
    ":true": {"BOOL": True},
    ":null": {"NULL": True},
    ":ba": {"SS": ["b", "a"]},
    ":list": {"L": [{"N": "1.0"}, {"S": "x"}, {"M": {"deep": {"N": "7"}}}]},
    ":map": {"M": {"a.b": {"S": "dotted"}, "x": {"N": "1.00"}}},
    ":inner": {"M": {"deep": {"N": "7"}}},
}

TRUE = [
    "n = :10",
    "n = same",
    "n <> :9",
    "n <> :hello",
    "n < :11",
    "n <= :10",
    "n > :9",
    "n >= same",
    ":9 < n",
    "n < :big",
    "s < :z",
    "#s = :hello",
    "b = :bin",
    "b > :binhead",
    "yes = :true",
    "nil = :null",
    "ss = :ba",
    "l = :list",
    "m = :map",
    "m.x = :1",
    "#m.#d > :a",
    "l[0] = :1",
    "l[2].deep > :2",
    "n BETWEEN :9 AND :11",
    "n between :10 and :10",
    "n BETWEEN :9 AND same",
    "n IN (:9, :hello, :10)",
    "NOT n IN (:9)",
    "attribute_exists(n)",
    "attribute_exists(m.x)",
    "attribute_not_exists(m.y)",
    "attribute_not_exists(l[3])",
    "attribute_not_exists(n.x)",
    "attribute_not_exists(n[0])",
    "attribute_type(s, :S)",
    "attribute_type(:1, :N)",
    "begins_with(s, :he)",
    "begins_with(b, :binhead)",
    "begins_with(:hello, #s)",
    "contains(s, :ell)",
    "contains(b, :binhead)",
    "contains(ss, :a)",
    "contains(ns, :2)",
    "contains(bs, :binhead)",
    "contains(l, :inner)",
    "contains(l, :1)",
    "size(s) > :3",
    "size(b) = :3",
    "size(ss) = :2",
    "size(l) = :3",
    "size(m) = :2",
    "size(s) < n",
    "missing <> :1",
    "missing <> absent",
    "NOT missing = absent",
    "NOT missing < :1",
    "missing = :1 OR n = :10",
    "n = :10 or missing = :1 and missing = :2",
    "(n = :10 OR missing = :1) AND s = :hello",
    "NOT (n = :9 OR s = :z) AND NOT n = :11",
    "NOT NOT n = :10",
    "\n n=:10\tAND(s=:hello)",
]

FALSE = [
    "n = :9",
    "n = :hello",
    "n <> same",
    "n < :10",
    "n < :hello",
    "s > n",
    "l > n",
    "missing = :1",
    "missing = absent",
    "missing < :1",
    ":1 < missing",
    "missing < absent",
    "n BETWEEN missing AND :11",
    "n BETWEEN :9 AND s",
    "n IN (:9, missing)",
    "missing IN (absent)",
    "attribute_type(s, :N)",
    "attribute_type(missing, :S)",
    "begins_with(n, :he)",
    "begins_with(missing, :he)",
    "begins_with(s, missing)",
    "begins_with(s, b)",
    "contains(n, :1)",
    "contains(s, :1)",
    "contains(ss, :ba)",
    "contains(ns, :a)",
    "contains(missing, :a)",
    "contains(b, :bintail)",
    "size(n) = :2",
    "size(nil) >= :1",
    "size(missing) <= :1",
    "size(s) = :hello",
    "n.x = :1",
    "s[0] = :1",
]


def holds(text: str) -> bool:
    condition = parse_condition(text)
    condition.check(NAMES, VALUES)
    return condition.holds(ITEM, NAMES, VALUES)


@pytest.mark.parametrize("text", TRUE)
def test_what_holds(text: str) -> None:
    """Values by value, sets without order, AND before OR, NOT before AND."""
    assert holds(text)


@pytest.mark.parametrize("text", FALSE)
def test_what_does_not_hold(text: str) -> None:
    """Other types and missing attributes make a condition false, never an error."""
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("n", 1),
        ("n =", 3),
        ("n == :1", 3),
        ("n = :1 AND", 10),
        ("n = :1 extra", 7),
        ("(n = :1", 7),
        ("((n = :1))", 0),
        ("n IN ()", 6),
        ("n IN :1", 5),
        ("n BETWEEN :1", 12),
        ("_n = :1", 0),
        ("n = 1", 4),
        ("n = 'x'", 4),
        ("l[:1] = :1", 2),
        ("l[x] = :1", 2),
        ("m. = :1", 3),
        ("SIZE(s) = :1", 4),
        ("attribute_exists(:1)", 17),
        ("attribute_type(s, n)", 18),
        ("contains(s)", 10),
        ("unknown(s)", 7),
        ("é = :1", 0),
    ],
)
def test_an_error_says_where(text: str, position: int) -> None:
    """A text that can't be read names the place and what was expected there."""
    with pytest.raises(ExpressionError) as wrong:
        parse_condition(text)

    assert wrong.value.position == position
    assert f"position {position}" in str(wrong.value)


@pytest.mark.parametrize(
    "text",
    [
        "n = :undefined",
        "#undefined = :1",
        "m.#undefined = :1",
        "n < :true",
        ":list < n",
        "n BETWEEN :11 AND :9",
        "n BETWEEN :9 AND :a",
        "begins_with(s, :1)",
        "attribute_type(s, :hello)",
        "attribute_type(s, :1)",
        "size(:1) = :1",
        "contains(:1, n)",
        "n = n",
        "s <> #s.x OR s = #s",
        "contains(s, #s)",
        "n IN (:1, n)",
    ],
)
def test_a_condition_at_odds_with_its_values(text: str) -> None:
    """Placeholders must be defined, given values of the right type, operands distinct."""
    condition = parse_condition(text)

    with pytest.raises(ExpressionError):
        condition.check(NAMES, VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000,
        "NOT " * 1_000 + "a = :a",
        "(" * (NESTING_MAX + 1) + "a = :a",
        "a = :a" + " OR a = :a" * 150,
        "a" + ".a" * PATH_STEPS_MAX + " = :a",
        "a IN (" + ", ".join([":a"] * 101) + ")",
        "a = :" + "a" * TEXT_BYTES_MAX,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_texts_are_refused(text: str) -> None:
    """Length, nesting and the number of operators are bounded: an error, no hang, no crash."""
    with pytest.raises(ExpressionError):
        parse_condition(text)


HOSTILE = [
    "(" * TEXT_BYTES_MAX,
    ")" * TEXT_BYTES_MAX,
    "(a=:a" * 800,
    "(" * 60 + "a=:a" + ")" * 60,
    "(a=:a)" * 600,
    "NOT " * 1_000,
    "NOT(" * 1_000 + "a=:a",
    "a=:a AND " * 450,
    "a=:a OR NOT(" * 300,
    "size(" * 800,
    "contains(a," * 370,
    "begins_with(size(a),size(a)) OR " * 128,
    "a IN(" + ":a," * 1_300 + ":a)",
    "a BETWEEN " * 400,
    "a" + ".a" * 2_000 + "=:a",
    "a" + "[0]" * 1_300 + "=:a",
    f"a[{'9' * 4_000}]=:a",
    "a[" * 2_000,
    "#" * TEXT_BYTES_MAX,
    ":" * TEXT_BYTES_MAX,
    "'" * TEXT_BYTES_MAX,
    "a='" + "''" * 2_000,
    "a=" + "1" * 4_000,
    "a=-" + "1." * 2_000,
    "\u00e9" * 2_000,
    "\x00" * TEXT_BYTES_MAX,
    "a='\ud800'",
]

DEEP: Wire = {"S": "leaf"}
for _ in range(31):
    DEEP = {"M": {"a": DEEP}} if _ % 2 else {"L": [DEEP]}

FRAMES_MAX = 400
"""Of Python's 1,000, so many may a text make use of."""


@pytest.mark.parametrize("allow_literals", [True, False])
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:10])
def test_nothing_hangs_or_runs_out_of_stack(text: str, *, allow_literals: bool) -> None:
    """Whatever a text is, it is read or refused in little time and not deep in the stack; what is
    read says of the deepest item whether it holds.
    """
    depth = len(inspect.stack(0))
    limit, since_s = sys.getrecursionlimit(), time.process_time()
    sys.setrecursionlimit(depth + FRAMES_MAX)
    try:
        for parse in (parse_update, parse_projection):
            with contextlib.suppress(ExpressionError):
                parse(text)
        with contextlib.suppress(ExpressionError):
            condition = parse_condition(text, allow_literals=allow_literals)
            values = dict.fromkeys(condition.values, DEEP) | dict(condition.literals)
            condition.check(dict.fromkeys(condition.aliases, "a"), values)
            condition.holds({"a": DEEP}, dict.fromkeys(condition.aliases, "a"), values)
    finally:
        sys.setrecursionlimit(limit)
    assert time.process_time() - since_s < CPU_S_MAX


def test_limits_are_reached() -> None:
    """What is within the limits is read."""
    parse_condition("a = :a" + " OR a = :a" * (OPERATORS_MAX // 2 - 1))
    parse_condition("a" + ".a" * (PATH_STEPS_MAX - 1) + " = :a")
    parse_condition("a IN (" + ", ".join([":a"] * 100) + ")")
    parse_condition("NOT " * NESTING_MAX + "a = :a")


@given(st.text(alphabet="ab.#:[]()<>=, \n0ANDORNTISETBWEremovesize_", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text breaks a parser otherwise."""
    for parse in (parse_condition, parse_update, parse_projection):
        try:
            parse(text)
        except ExpressionError:
            continue


def test_a_condition_tells_its_words() -> None:
    """The placeholders and the names it uses, each once."""
    condition = parse_condition("#a.b = :x AND #a.c[0] = :y AND b > :x")

    assert condition.aliases == ("#a",)
    assert condition.values == (":x", ":y")
    assert condition.bare == ("b", "c")
    assert len(list(condition.terms)) == 3


def test_types_are_dynamodbs() -> None:
    """All ten."""
    assert sorted(TYPES) == ["B", "BOOL", "BS", "L", "M", "N", "NS", "NULL", "S", "SS"]


def updated(text: str, item: Wire = ITEM, *, missing: bool = False) -> Wire:
    update = parse_update(text)
    update.check(NAMES, VALUES)
    return update.applied(item, NAMES, VALUES, missing=missing)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("SET new = :1", "new", {"N": "1"}),
        ("set n = :a", "n", {"S": "a"}),
        ("SET n = n + :1", "n", {"N": "11"}),
        ("SET n = :1 - n", "n", {"N": "-9"}),
        ("SET n = :big + :1", "n", {"N": "12345678901234567890123456789012345679"}),
        ("SET n = s, s = n", "n", {"S": "hello"}),
        ("SET new = m.x", "new", {"N": "1"}),
        ("SET new = if_not_exists(n, :1)", "new", {"N": "10"}),
        ("SET new = if_not_exists(missing, :1) + :2", "new", {"N": "3"}),
        ("SET new = if_not_exists(missing, if_not_exists(absent, :1))", "new", {"N": "1"}),
        (
            "SET l = list_append(l, if_not_exists(missing, :list))",
            "l",
            {"L": [*ITEM["l"]["L"], *VALUES[":list"]["L"]]},
        ),
        ("SET m.y = :1", "m", {"M": {**ITEM["m"]["M"], "y": {"N": "1"}}}),
        ("SET m.#d = :1", "m", {"M": {"x": {"N": "1"}, "a.b": {"N": "1"}}}),
        ("SET l[0] = :a", "l", {"L": [{"S": "a"}, *ITEM["l"]["L"][1:]]}),
        (
            "SET l[9] = :2, l[7] = :1",
            "l",
            {"L": [*ITEM["l"]["L"], {"N": "1"}, {"N": "2"}]},
        ),
        ("REMOVE l[0] SET l[1] = :a", "l", {"L": [{"S": "a"}, ITEM["l"]["L"][2]]}),
        ("REMOVE l[0], l[2].deep, l[8]", "l", {"L": [{"S": "x"}, {"M": {}}]}),
        ("REMOVE n", "n", None),
        ("REMOVE m.x, m.#d", "m", {"M": {}}),
        ("REMOVE missing", "missing", None),
        ("REMOVE m.missing", "m", ITEM["m"]),
        ("ADD n :2", "n", {"N": "12"}),
        ("ADD new :2", "new", {"N": "2"}),
        ("ADD m.x :2", "m", {"M": {**ITEM["m"]["M"], "x": {"N": "3"}}}),
        ("ADD ss :ba", "ss", {"SS": ["a", "b"]}),
        ("ADD new :ba", "new", {"SS": ["b", "a"]}),
        ("DELETE ss :ba", "ss", None),
        ("DELETE missing :ba", "missing", None),
        ("SET n = :1 REMOVE s ADD new :2 DELETE ss :ba", "n", {"N": "1"}),
    ],
)
def test_an_update(text: str, name: str, expected: Wire | None) -> None:
    """Right sides are read from the item as it was, places in lists mean the list as it was."""
    before = repr(ITEM)

    assert updated(text).get(name) == expected
    assert repr(ITEM) == before


@pytest.mark.parametrize(
    "text",
    [
        "SET n = s + :1",
        "SET n = missing",
        "SET n = missing + :1",
        "SET n = list_append(n, :list)",
        "SET n = list_append(missing, :list)",
        "SET n.x = :1",
        "SET missing.x = :1",
        "SET missing[0] = :1",
        "SET l.x = :1",
        "SET m[0] = :1",
        "SET l[9].x = :1",
        "REMOVE missing.x",
        "REMOVE n[0]",
        "ADD s :1",
        "ADD n :a",
        "ADD ns :ba",
        "DELETE ss :a",
        "DELETE ns :ba",
    ],
)
def test_an_update_that_does_not_fit_the_item(text: str) -> None:
    """What isn't there or is of another type is an error."""
    with pytest.raises(ExpressionError):
        updated(text)


@pytest.mark.parametrize(
    "text",
    [
        "SET n = :undefined",
        "SET #undefined = :1",
        "SET m = :1, m.x = :1",
        "SET m.x = :1, m = :1",
        "SET n = :1 REMOVE n",
        "SET m.x = :1, m[0] = :1",
    ],
)
def test_an_update_at_odds_with_itself(text: str) -> None:
    """Placeholders are defined; no two paths overlap or conflict."""
    with pytest.raises(ExpressionError):
        parse_update(text).check(NAMES, VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n = :1",
        "SET",
        "SET n",
        "SET n = ",
        "SET n = :1 SET s = :1",
        "SET n = :1 + :1 + :1",
        "SET n = (:1)",
        "SET n = f(:1)",
        "SET n = LIST_APPEND(l, l)",
        "SET n = list_append(l)",
        "SET n = list_append(list_append(l, l), l)",
        "SET n = if_not_exists(:1, :1)",
        "SET n = if_not_exists(n, :1 + :1)",
        "REMOVE n + :1",
        "ADD n s",
        "DELETE n",
        "HELLO n",
        "SET n = :1,",
    ],
)
def test_an_update_that_can_not_be_read(text: str) -> None:
    """Each clause once, each action of its clause's form."""
    with pytest.raises(ExpressionError):
        parse_update(text)


def test_an_update_of_a_missing_item() -> None:
    """What takes away finds nothing, and is no error."""
    assert updated("REMOVE a.b, c[0]", {}, missing=True) == {}
    assert updated("ADD n :1 DELETE ss :ba", {}, missing=True) == {"n": {"N": "1"}}
    assert parse_update("REMOVE a DELETE b :b").only_removes
    assert not parse_update("REMOVE a SET b = :b").only_removes


def test_unchanged_parts_are_shared() -> None:
    """An update copies what it changes, nothing else."""
    new = updated("SET n = :1, m.x = :2")

    assert new["l"] is ITEM["l"]
    assert new["m"]["M"]["a.b"] is ITEM["m"]["M"]["a.b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n", {"n": ITEM["n"]}),
        ("n, #s", {"n": ITEM["n"], "s": ITEM["s"]}),
        ("m.x", {"m": {"M": {"x": {"N": "1"}}}}),
        ("m.#d, m.x", {"m": ITEM["m"]}),
        ("l[2].deep, l[0]", {"l": {"L": [{"N": "1"}, {"M": {"deep": {"N": "7"}}}]}}),
        ("l[7], m.y, missing, n.x, s[0]", {}),
    ],
)
def test_a_projection_shows_parts(text: str, expected: Wire) -> None:
    """List members close up, in their order; what isn't there isn't shown."""
    assert projected(ITEM, parse_projection(text).bound(NAMES)) == expected


@pytest.mark.parametrize("text", ["", "n,", "n s", ":1", "m, m.x", "m.x, m.x", "#undefined"])
def test_a_projection_that_makes_no_sense(text: str) -> None:
    """Paths, separated by commas, none within another."""
    with pytest.raises(ExpressionError):
        parse_projection(text).bound(NAMES)

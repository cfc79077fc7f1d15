"""Random conditions and updates on random items: every server gives the same verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.profiles import MEMORY, Profile
from tests.servers import Server, Service

from dynamirror.core.predicates import TYPES
from dynamirror.core.values import Wire, same
from dynamirror.errors import ConditionFailedError, RefusedError
from dynamirror.memory import MemoryDynamoDB

EXAMPLES = 300
TABLE = f"verdicts-{time.time_ns()}"
KEY: Wire = {"id": {"S": "a"}}

NAMES = ["a", "b", "c"]

_SIMPLE = (
    *("=", "<>", "<", "<=", ">", ">=", "BETWEEN", "IN", "attribute_exists"),
    *("attribute_not_exists", "attribute_type", "contains"),
)
_JOINING = ("AND", "OR", "NOT") * 4
_FUNCTIONS = ("if_not_exists({p}, {v})", "list_append({p}, {v})", "if_not_exists({p}, {n}) + {n}")

numbers = st.sampled_from(["0", "1", "-1", "2", "10", "9", "1.5", "12345678901234567890"])
texts = st.sampled_from(["", "a", "ab", "b", "B", "ä", "1"])
binaries = st.sampled_from(["", "AQ==", "AQI=", "/w=="])
scalars: st.SearchStrategy[Wire] = st.one_of(
    numbers.map(lambda text: {"N": text}),
    texts.map(lambda text: {"S": text}),
    binaries.map(lambda text: {"B": text}),
    st.booleans().map(lambda one: {"BOOL": one}),
    st.just({"NULL": True}),
    st.lists(numbers, min_size=1, max_size=3, unique=True).map(lambda some: {"NS": some}),
    st.lists(texts, min_size=1, max_size=3, unique=True).map(lambda some: {"SS": some}),
    st.lists(binaries, min_size=1, max_size=2, unique=True).map(lambda some: {"BS": some}),
)
numeric: st.SearchStrategy[Wire] = numbers.map(lambda text: {"N": text})
beginnings: st.SearchStrategy[Wire] = st.one_of(
    texts.map(lambda text: {"S": text}), binaries.map(lambda text: {"B": text})
)
ordered: st.SearchStrategy[Wire] = st.one_of(numeric, beginnings)
kinds: st.SearchStrategy[Wire] = st.sampled_from(list(TYPES)).map(lambda text: {"S": text})
values: st.SearchStrategy[Wire] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda some: {"L": some}),
        st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2).map(
            lambda some: {"M": some}
        ),
    ),
    max_leaves=4,
)
items = st.dictionaries(st.sampled_from(NAMES), values, max_size=3)

paths = st.one_of(
    st.sampled_from(NAMES),
    st.builds(
        "{}{}".format,
        st.sampled_from(NAMES),
        st.sampled_from([".x", ".y", "[0]", "[1]", ".x.y", "[0].x", ".#alias"]),
    ),
)


class Draft:
    """An expression being drawn for a server, and the values it uses."""

    def __init__(self, draw: st.DrawFn, profile: Profile) -> None:
        self.draw = draw
        self.profile = profile
        self.values: dict[str, Wire] = {}

    def value(self, some: st.SearchStrategy[Wire] = values) -> str:
        name = f":v{len(self.values)}"
        self.values[name] = self.draw(some)
        return name

    def path(self) -> str:
        return self.draw(paths)

    def operand(self) -> str:
        sized = self.profile.expressions_exact and self.draw(st.integers(0, 5)) == 0
        return f"size({self.path()})" if sized else self.path()

    def other(self, some: st.SearchStrategy[Wire] = values, *, attributes: bool = True) -> str:
        """Return what to compare an attribute with: mostly a value."""
        if attributes and self.draw(st.integers(0, 3)) == 0:
            return self.operand()
        return self.value(some)

    def condition(self, depth: int = 2) -> str:
        simple = _SIMPLE + (("begins_with",) if self.profile.expressions_exact else ())
        kind = self.draw(st.sampled_from(simple + _JOINING if depth else simple))
        if kind == "NOT":
            return f"NOT {self.condition(depth - 1)}"
        if kind in ("AND", "OR"):
            left, right = self.condition(depth - 1), self.condition(depth - 1)
            joined = f"{left} {kind} {right}"
            return f"({joined})" if depth == 1 and self.draw(st.booleans()) else joined
        return self._simple(kind)

    def _simple(self, kind: str) -> str:
        two_missing = self.profile.missing_differs_from_missing
        match kind:
            case "=" | "<>":
                text = f"{self.operand()} {kind} {self.other(attributes=two_missing)}"
            case "IN":
                options = [self.other(attributes=two_missing) for _ in range(2)]
                text = f"{self.operand()} IN ({', '.join(options)})"
            case "BETWEEN":
                text = f"{self.operand()} BETWEEN {self.other(ordered)} AND {self.operand()}"
            case "attribute_type":
                text = f"attribute_type({self.path()}, {self.value(kinds)})"
            case "attribute_exists" | "attribute_not_exists":
                text = f"{kind}({self.path()})"
            case "begins_with":
                text = f"begins_with({self.path()}, {self.other(beginnings)})"
            case "contains":
                text = f"contains({self.path()}, {self.other()})"
            case _:
                text = f"{self.operand()} {kind} {self.other(ordered)}"
        return text

    def update(self) -> str:
        kinds = self.draw(
            st.lists(st.sampled_from(["SET", "REMOVE", "ADD", "DELETE"]), min_size=1, unique=True)
        )
        return " ".join(f"{kind} {self._action(kind)}" for kind in kinds)

    def _action(self, kind: str) -> str:
        if kind == "REMOVE":
            return self.path()
        if kind != "SET":
            return f"{self.path()} {self.value(scalars)}"
        source = self.draw(st.sampled_from(["{v}", "{p}", "{p} + {n}", "{n} - {p}", *_FUNCTIONS]))
        right = source.format(
            p=self.path(),
            v=self.value() if "{v}" in source else "",
            n=self.value(numeric) if "{n}" in source else "",
        )
        return f"{self.path()} = {right}"

    def request(self, **expressions: str) -> Wire:
        request: Wire = dict(expressions)
        if self.values:
            request["ExpressionAttributeValues"] = self.values
        if any("#alias" in one for one in expressions.values()):
            request["ExpressionAttributeNames"] = {"#alias": "x"}
        return request


@st.composite
def conditions(draw: st.DrawFn, profile: Profile) -> Wire:
    draft = Draft(draw, profile)
    return draft.request(ConditionExpression=draft.condition())


@st.composite
def updates(draw: st.DrawFn, profile: Profile) -> Wire:
    draft = Draft(draw, profile)
    return draft.request(UpdateExpression=draft.update())


@pytest.fixture(scope="module")
def services(server: Server) -> Iterator[tuple[Service, Service]]:
    """The memory adapter and the server, each with the same empty table."""
    memory = Service(lambda: MemoryDynamoDB(clock=lambda: 0), MEMORY)
    other = Service(lambda: server.connect(server.regions[0]), server.profile)
    with memory, other:
        for service in (memory, other):
            service.create_table(TABLE)
        yield memory, other
        other.drop(TABLE)


def verdict(service: Service, item: Wire, request: Wire) -> str | Wire:
    """Return what became of the item, or why nothing did."""
    service.ask("PutItem", TableName=TABLE, Item={**KEY, **item})
    try:
        answer = service.ask(
            "UpdateItem", TableName=TABLE, Key=KEY, ReturnValues="ALL_NEW", **request
        )
    except ConditionFailedError:
        return "the condition failed"
    except RefusedError:
        return "refused"
    changed: Wire = answer["Attributes"]
    return changed


def alike(one: str | Wire, other: str | Wire) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return same(one, other)


def compare(services: tuple[Service, Service], item: Wire, request: Wire) -> None:
    memory, other = services
    expected = verdict(memory, item, request)
    found = verdict(other, item, request)
    if expected == "refused" and not other.profile.expressions_exact:
        return
    assert alike(found, expected), f"{other.profile.name}: {found}, memory: {expected}"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), item=items)
def test_conditions(services: tuple[Service, Service], data: st.DataObject, item: Wire) -> None:
    """A condition holds, fails or is refused alike."""
    compare(services, item, data.draw(conditions(services[1].profile)))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), item=items)
def test_updates(services: tuple[Service, Service], data: st.DataObject, item: Wire) -> None:
    """An update leaves the same item, or is refused alike."""
    compare(services, item, data.draw(updates(services[1].profile)))

"""Random conditions and updates on random items: every server gives the same verdict."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.profiles import MEMORY, Profile
from tests.servers import Server, Service

from dynamirror.core.predicates import TYPES
from dynamirror.core.values import Wire, same
from dynamirror.core.view.where import Where
from dynamirror.errors import ConditionFailedError, RefusedError
from dynamirror.memory import MemoryDynamoDB

EXAMPLES = 200
FILTERED, ITEMS, FILTERS = 30, 25, 10
"""Examples, and of each so many items and conditions: 7,500 pairs."""
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
alike_items = st.fixed_dictionaries(
    {}, optional={name: st.one_of(numeric, beginnings, values) for name in NAMES}
)
"""Of which many have values of one type, so that comparisons come down to the values."""

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

    def held(self) -> str:
        """Return what to look for in an attribute."""
        if self.profile.binaries_contain:
            return self.other()
        return self.value(values.filter(lambda one: "B" not in one))

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
                text = f"contains({self.path()}, {self.held()})"
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


BICYCLE: Wire = {
    "Title": {"S": "18-Bicycle 301"},
    "Brand": {"S": "Brand-Company C"},
    "Price": {"N": "550"},
    "Color": {"L": [{"S": "Red"}, {"S": "Black"}]},
    "Sizes": {"NS": ["18", "20"]},
    "ProductCategory": {"S": "Bike"},
    "InStock": {"BOOL": True},
    "QuantityOnHand": {"NULL": True},
    "RelatedItems": {"L": [{"N": "341"}, {"N": "472"}, {"N": "649"}]},
    "Pictures": {
        "M": {
            "FrontView": {"S": "http://example.com/products/123_front.jpg"},
            "SideView": {"S": "http://example.com/products/123_left_side.jpg"},
        }
    },
    "ProductReviews": {
        "M": {"FiveStar": {"L": [{"S": "Excellent!"}]}, "OneStar": {"L": [{"S": "Terrible"}]}}
    },
    "VideoClip": {"B": "AQIDBA=="},
}
"""The item of the Developer Guide's examples, as 'ProductCatalog' has it."""

GUIDE_NAMES = {"#Pictures": "Pictures", "#SideView": "SideView", "#p": "Price", "#s": "Sizes"}

GUIDE_VALUES: Wire = {
    ":lo": {"N": "500"},
    ":hi": {"N": "600"},
    ":price": {"N": "550"},
    ":cat1": {"S": "Bike"},
    ":cat2": {"S": "Gardening Supplies"},
    ":list": {"S": "L"},
    ":text": {"S": "S"},
    ":set": {"S": "NS"},
    ":http": {"S": "http://"},
    ":company": {"S": "Company"},
    ":red": {"S": "Red"},
    ":20": {"N": "20"},
    ":4": {"N": "4"},
    ":true": {"BOOL": True},
    ":null": {"NULL": True},
    ":649": {"N": "649"},
}

GUIDE = {
    "Price = :price": True,
    "Price <> :price": False,
    "Price < :hi": True,
    "Price <= :lo": False,
    "Price > :lo": True,
    "Price >= :hi": False,
    "#p BETWEEN :lo AND :hi": True,
    "Price BETWEEN :lo and :price": True,
    "ProductCategory IN (:cat1, :cat2)": True,
    "(ProductCategory IN (:cat1, :cat2)) AND (Price BETWEEN :lo AND :hi)": True,
    "attribute_exists(#Pictures.#SideView)": True,
    "attribute_exists(ProductReviews.OneStar)": True,
    "attribute_not_exists(Manufacturer)": True,
    "attribute_not_exists(Price)": False,
    "attribute_type(ProductReviews.FiveStar, :list)": True,
    "attribute_type(ProductReviews.FiveStar, :text)": False,
    "attribute_type(#s, :set)": True,
    "begins_with(Pictures.FrontView, :http)": True,
    "begins_with(Title, :http)": False,
    "contains(Brand, :company)": True,
    "contains(Color, :red)": True,
    "contains(#s, :20)": True,
    "contains(Title, :company)": False,
    "size(VideoClip) <= :4": True,
    "size(Brand) > :20": False,
    "size(Color) < :4": True,
    "size(Pictures) = :4": False,
    "Price > :lo AND Price < :hi": True,
    "Price > :hi OR Price < :lo": False,
    "NOT Price > :hi": True,
    "NOT (Price > :hi OR InStock = :true)": False,
    "(Price > :hi OR InStock = :true) AND RelatedItems[2] = :649": True,
    "Price > :hi OR InStock = :true AND RelatedItems[2] = :20": False,
    "QuantityOnHand = :null": True,
    "Pictures.FrontView <> #Pictures.#SideView": True,
    "RelatedItems[0] < RelatedItems[1]": True,
    "RelatedItems[9] = :649": False,
}
"""Each form of the Developer Guide's 'Condition and filter expressions, operators, and functions'
and 'Condition expression examples', and whether it holds of the bicycle."""


def test_the_developer_guides_examples(services: tuple[Service, Service]) -> None:
    """Each form of condition that the service documents is read, and holds or not as it says."""
    item = {**KEY, **BICYCLE}
    for service in services:
        service.ask("PutItem", TableName=TABLE, Item=item)
    for text, holds in GUIDE.items():
        words = set(re.findall(r"[#:]\w+", text))
        names = {name: GUIDE_NAMES[name] for name in words & GUIDE_NAMES.keys()}
        values = {name: GUIDE_VALUES[name] for name in words & GUIDE_VALUES.keys()}
        assert Where(text, GUIDE_NAMES, GUIDE_VALUES).holds(item) is holds, text
        request: Wire = {"FilterExpression": text}
        request |= {"ExpressionAttributeNames": names} if names else {}
        request |= {"ExpressionAttributeValues": values} if values else {}
        for service in services:
            found = filtered(service, request)
            assert (KEY["id"]["S"] in found) is holds, (service.profile.name, text)


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


def filtered(service: Service, request: Wire) -> set[str]:
    """Return the ids of the items that a scan's filter lets through, or that it is ``refused``."""
    names = {"ConditionExpression": "FilterExpression"}
    wire = {names.get(name, name): value for name, value in request.items()}
    try:
        answer = service.ask("Scan", TableName=TABLE, ConsistentRead=True, **wire)
    except RefusedError:
        return {"refused"}
    assert "LastEvaluatedKey" not in answer
    return {one["id"]["S"] for one in answer["Items"]}


@settings(
    max_examples=FILTERED,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.reuse, Phase.generate),  # what is at odds is told below; shrinking takes minutes
)
@given(data=st.data(), some=st.lists(alike_items, min_size=ITEMS, max_size=ITEMS))
def test_filters(services: tuple[Service, Service], data: st.DataObject, some: list[Wire]) -> None:
    """Of many items the same ones meet a condition: what a view's ``where`` is made of."""
    puts = [
        {"PutRequest": {"Item": {"id": {"S": f"i{number}"}, **item}}}
        for number, item in enumerate(some)
    ]
    ours = {"refused", *(put["PutRequest"]["Item"]["id"]["S"] for put in puts)}
    for service in services:
        service.ask("BatchWriteItem", RequestItems={TABLE: puts})
    for _ in range(FILTERS):
        request = data.draw(conditions(services[1].profile))
        # Other tests leave items of their own.
        expected, found = (filtered(service, request) & ours for service in services)
        if "refused" in expected and not services[1].profile.expressions_exact:
            continue
        names = [name for name in expected ^ found if name[1:].isdecimal()]
        at_odds = {name: some[int(name[1:])] for name in names}
        assert expected == found, (request, at_odds)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), item=items)
def test_updates(services: tuple[Service, Service], data: st.DataObject, item: Wire) -> None:
    """An update leaves the same item, or is refused alike."""
    compare(services, item, data.draw(updates(services[1].profile)))

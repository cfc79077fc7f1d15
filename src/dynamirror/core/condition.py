"""Conditions: DynamoDB's ConditionExpression (also FilterExpression and KeyConditionExpression).

    condition = parse_condition("attribute_not_exists(#v) OR #v < :v")
    condition.check(names, values)
    condition.holds(item, names, values)

OR binds loosest, then AND, NOT, and the comparisons. As the service does, this refuses parentheses
around parentheses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from dynamirror.core.expressions import CACHED_TEXTS, Names, Path, Reader, Scope, Value, Values
from dynamirror.core.predicates import (
    AllOf,
    AnyOf,
    BeginsWith,
    Between,
    Comparison,
    Contains,
    Exists,
    HasType,
    In,
    Node,
    Not,
    Operand,
    Size,
)
from dynamirror.core.values import Wire
from dynamirror.core.words import ExpressionError

IN_VALUES_MAX = 100
"""Values of one IN (Developer Guide, 'Comparison operator and function reference')."""

COMPARATORS = ("=", "<>", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, read. ``aliases``, ``values`` and ``bare`` are the words it uses."""

    node: Node
    aliases: tuple[str, ...]
    values: tuple[str, ...]
    bare: tuple[str, ...]
    literals: Mapping[str, Wire]
    """What its literals stand for, to be passed with the values."""
    weighs: bool = False
    """Whether ``check`` looks at values themselves, not at their types alone."""

    def check(self, names: Names, values: Values) -> None:
        """Raise ExpressionError unless the names and values given make sense of it."""
        self.node.check(names, values)

    def holds(self, item: Wire, names: Names, values: Values) -> bool:
        """Tell whether an item meets it; no item is ``{}``. Names and values are checked ones."""
        return self.node.holds(Scope(item, names, values))

    @property
    def terms(self) -> Iterator[Node]:
        """The terms that must all hold: those of its outermost AND, or itself."""
        yield from self.node.terms if isinstance(self.node, AllOf) else (self.node,)


@lru_cache(CACHED_TEXTS)
def parse_condition(text: str, *, allow_literals: bool = False) -> Condition:
    """Read a condition. Raises ExpressionError, which says where and what was expected.

    ``allow_literals``: values may stand in the text, ``kind = 'public' AND age >= 18``.
    """
    parser = _Parser(text, allow_literals=allow_literals)
    node = parser.disjunction()
    parser.words.finish()
    words = parser.words
    return Condition(
        node,
        tuple(words.aliases),
        tuple(words.values),
        tuple(words.bare),
        words.literals,
        parser.weighs,
    )


class _Parser:
    """Recursive descent, a method per rule of the grammar."""

    def __init__(self, text: str, *, allow_literals: bool) -> None:
        self.words = Reader(text, allow_literals=allow_literals)
        self.weighs = False
        self._grouped: Node | None = None

    def disjunction(self) -> Node:
        terms = [self._conjunction()]
        while self.words.takes_keyword("OR"):
            self.words.count_operator()
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def _conjunction(self) -> Node:
        terms = [self._negation()]
        while self.words.takes_keyword("AND"):
            self.words.count_operator()
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else AllOf(tuple(terms))

    def _negation(self) -> Node:
        if not self.words.takes_keyword("NOT"):
            return self._primary()
        self.words.count_operator()
        with self.words:
            return Not(self._negation())

    def _primary(self) -> Node:
        opening = self.words.word
        if self.words.takes("("):
            return self._group(opening.at)
        self.words.count_operator()
        match self.words.called():
            case "attribute_exists":
                node: Node = Exists(self._one_path(), wanted=True)
            case "attribute_not_exists":
                node = Exists(self._one_path(), wanted=False)
            case "attribute_type":
                node = self._type_test()
            case "begins_with":
                node = BeginsWith(*self._two_operands())
            case "contains":
                node = Contains(*self._two_operands())
            case _:
                node = self._comparison()
        return node

    def _group(self, at: int) -> Node:
        with self.words:
            inner = self.disjunction()
        self.words.expect(")")
        if inner is self._grouped:
            raise ExpressionError("parentheses around parentheses", at)
        self._grouped = inner
        return inner

    def _comparison(self) -> Node:
        operand = self._operand()
        word = self.words.word
        if word.kind == "mark" and word.text in COMPARATORS:
            self.words.take()
            return Comparison(operand, word.text, self._operand())
        if self.words.takes_keyword("BETWEEN"):
            low = self._operand()
            if not self.words.takes_keyword("AND"):
                raise self.words.wrong("AND and the higher value of BETWEEN")
            self.weighs = True
            return Between(operand, low, self._operand())
        if self.words.takes_keyword("IN"):
            return In(operand, self._options())
        raise self.words.wrong("a comparison: = <> < <= > >= BETWEEN IN")

    def _options(self) -> tuple[Operand, ...]:
        self.words.expect("(")
        at = self.words.word.at
        options = [self._operand()]
        while self.words.takes(","):
            options.append(self._operand())
        self.words.expect(")")
        if len(options) > IN_VALUES_MAX:
            raise ExpressionError(f"IN takes at most {IN_VALUES_MAX} values", at)
        return tuple(options)

    def _operand(self) -> Operand:
        at = self.words.word.at
        if self.words.called() != "size":
            return self._plain_operand()
        self.words.count_operator()
        self.words.take()
        self.words.expect("(")
        of = self._plain_operand()
        self.words.expect(")")
        return Size(of, at)

    def _plain_operand(self) -> Path | Value:
        if self.words.at_value:
            return self.words.value()
        if self.words.word.kind in ("name", "alias"):
            return self.words.path()
        raise self.words.wrong("an attribute or a value")

    def _one_path(self) -> Path:
        self.words.take()
        self.words.expect("(")
        path = self.words.path()
        self.words.expect(")")
        return path

    def _two_operands(self) -> tuple[Operand, Operand]:
        self.words.take()
        self.words.expect("(")
        first = self._operand()
        self.words.expect(",")
        second = self._operand()
        self.words.expect(")")
        return first, second

    def _type_test(self) -> HasType:
        self.words.take()
        self.words.expect("(")
        operand = self._operand()
        self.words.expect(",")
        kind = self.words.value()
        self.weighs = True
        self.words.expect(")")
        return HasType(operand, kind)

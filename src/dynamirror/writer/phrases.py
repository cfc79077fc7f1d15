"""Expressions: what is added to the caller's, in words that clash with none of theirs.

The caller's expressions stay as they stand. A request's condition is joined with AND; the service
refuses parentheses around parentheses, so they are put only where an OR would come apart.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from dynamirror.core.actions import Assignment
from dynamirror.core.condition import parse_condition
from dynamirror.core.predicates import AnyOf
from dynamirror.core.update import Update, parse_update
from dynamirror.core.values import Wire
from dynamirror.core.words import ExpressionError
from dynamirror.writer.refusals import RefusedWriteError


class Phrases:
    """A request's names, values and condition, with room for ours. The request is not changed."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.request = rendered(request)
        self._names: Wire = dict(self.request.get("ExpressionAttributeNames") or {})
        self._values: Wire = dict(self.request.get("ExpressionAttributeValues") or {})

    def name(self, attribute: str) -> str:
        """Return a placeholder for an attribute's name."""
        placeholder = _free("#mirror_name", self._names)
        self._names[placeholder] = attribute
        return placeholder

    def value(self, value: Any) -> str:
        """Return a placeholder for a value."""
        placeholder = _free(":mirror_value", self._values)
        self._values[placeholder] = value
        return placeholder

    def require(self, condition: str) -> None:
        """Join a condition to the caller's with AND; ours comes as a single term."""
        given = self.request.get("ConditionExpression")
        joined = condition if given is None else f"{one_term(given)} AND {condition}"
        self.request["ConditionExpression"] = joined

    def written(self, **members: Any) -> Wire:
        """Return the request as it is to be sent, with these members in place of the caller's."""
        written = {**self.request, **members}
        if self._names:
            written["ExpressionAttributeNames"] = self._names
        if self._values:
            written["ExpressionAttributeValues"] = self._values
        return written


def _free(stem: str, taken: Wire) -> str:
    placeholder, count = stem, 1
    while placeholder in taken:
        count += 1
        placeholder = f"{stem}{count}"
    return placeholder


def one_term(condition: str) -> str:
    """Return the condition so that AND can follow it: in parentheses if it is a bare OR."""
    grouped = f"({condition})"
    try:
        node = parse_condition(condition).node
    except ExpressionError:
        return grouped  # the service says what is wrong with it
    if not isinstance(node, AnyOf):
        return condition
    try:
        parse_condition(grouped)
    except ExpressionError:
        return condition  # it has its parentheses
    return grouped


def rendered(request: Mapping[str, Any]) -> Wire:
    """Return a copy of the request whose condition is text, as boto3 would write it."""
    condition = request.get("ConditionExpression")
    if condition is None or isinstance(condition, str):
        return dict(request)
    for kind in type(condition).__mro__:
        builder = getattr(sys.modules[kind.__module__], "ConditionExpressionBuilder", None)
        if builder is not None:
            break
    else:
        raise RefusedWriteError(
            f"ConditionExpression is a {type(condition).__name__}; write it as text, or with "
            "boto3's Attr and Key"
        )
    built = builder().build_expression(condition)
    copy = {**request, "ConditionExpression": built.condition_expression}
    for member, placeholders in (
        ("ExpressionAttributeNames", built.attribute_name_placeholders),
        ("ExpressionAttributeValues", built.attribute_value_placeholders),
    ):
        if placeholders:
            copy[member] = {**(request.get(member) or {}), **placeholders}
    return copy


def read_update(request: Mapping[str, Any], attribute: str) -> Update | None:
    """Return the caller's update, read; None where there is none.

    Raises RefusedWriteError if it can't be read, or writes the version itself.
    """
    text = request.get("UpdateExpression")
    if text is None:
        return None
    names = request.get("ExpressionAttributeNames") or {}
    try:
        update = parse_update(text)
        touched = {action.path.resolved(names)[0] for action in update.actions}
    except ExpressionError as error:
        raise RefusedWriteError(f"UpdateExpression {text!r} can't be read: {error}") from None
    if attribute in touched:
        raise RefusedWriteError(
            f"UpdateExpression {text!r} writes {attribute!r} itself: leave that part out, the "
            "version is raised for you; to save only over a version that you know, pass expect="
        )
    return update


def with_assignment(text: str | None, update: Update | None, assignment: str) -> str:
    """Return the caller's update with an assignment more."""
    if text is None or update is None:
        return f"SET {assignment}"
    for action in update.actions:
        if isinstance(action, Assignment):
            return f"{text[: action.path.at]}{assignment}, {text[action.path.at :]}"
    return f"{text} SET {assignment}"

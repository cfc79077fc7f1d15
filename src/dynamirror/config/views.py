"""What a target gets to see: ``where``, ``attributes``, ``transform`` and ``key``, from TOML.

They stand in a mirror, for all its targets, or in a target's place, for it alone, one by one. Read
only where a file has one of them: a Lambda function that mirrors whole items imports none of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dynamirror.config.problems import ATTRIBUTE_BYTES_MAX, UnfitError, attribute, text
from dynamirror.core.predicates import TYPES
from dynamirror.core.view.lens import View
from dynamirror.core.view.shape import Hiding, Mask, Shape
from dynamirror.core.view.template import Template
from dynamirror.core.view.where import Where
from dynamirror.core.words import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dynamirror.core.values import Wire

KEYS_MAX = 2
"""Key attributes of a table: partition key and sort key."""

_FUNCTION = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


def where(value: object) -> Where:
    """Return the condition of ``"text"`` or ``{ condition, names, values }``."""
    raw = {"condition": value} if isinstance(value, str) else value
    if not isinstance(raw, dict) or not isinstance(raw.get("condition"), str):
        raise UnfitError("write a condition, such as \"kind = 'public' AND age >= 18\"")
    _no_more(raw, ("condition", "names", "values"))
    names, values = _table(raw, "names"), _table(raw, "values")
    condition = Where(
        raw["condition"],
        {alias: attribute(name) for alias, name in names.items()},
        {name: typed(each) for name, each in values.items()},
    )
    try:
        condition.check()
    except ExpressionError as error:
        raise UnfitError(f"{error}; mend the condition there") from None
    return condition


def attributes(value: object) -> Shape:
    """Return what becomes of attributes, given a table of include, exclude, mask, rename, set."""
    if not isinstance(value, dict):
        raise UnfitError('write a table, such as { exclude = ["email"], mask = { name = "hash" } }')
    _no_more(value, ("include", "exclude", "mask", "rename", "set", "secret_env"))
    rename = {name: attribute(new) for name, new in _table(value, "rename").items()}
    if len(set(rename.values())) < len(rename):
        raise UnfitError("rename gives two attributes one name; give each its own")
    shape = Shape(
        _names(value, "include") if "include" in value else None,
        _names(value, "exclude"),
        {name: _mask(how) for name, how in _table(value, "mask").items()},
        rename,
        {attribute(name): typed(each) for name, each in _table(value, "set").items()},
        _variable(value.get("secret_env")),
    )
    if shape.hashes and shape.secret_env is None:
        raise UnfitError(
            "a hash needs a secret: name the environment variable that holds it, such as "
            'secret_env = "DYNAMIRROR_SECRET"'
        )
    if both := sorted((shape.include or frozenset()) & shape.exclude):
        raise UnfitError(f"{', '.join(both)}: included and excluded; choose one")
    return shape


def transform(value: object) -> str:
    """Return ``module:function`` as it is; it is imported where it is used."""
    if not isinstance(value, str) or not re.fullmatch(_FUNCTION, value):
        raise UnfitError('write "module:function", such as "myviews:public_part"')
    return value


def key(value: object) -> Mapping[str, Template]:
    """Return the templates of a target's key attributes."""
    if not isinstance(value, dict) or not 1 <= len(value) <= KEYS_MAX:
        raise UnfitError(
            'write the target\'s key, partition key first: { pk = "USER#{id}", sk = "{at}" }'
        )
    templates = {attribute(name): Template(text(each)) for name, each in value.items()}
    for name, template in templates.items():
        if fault := next(template.faults(), None):
            raise UnfitError(f"{name}: {fault}")
    return templates


PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "where": where,
    "attributes": attributes,
    "transform": transform,
    "key": key,
}


def view(mirror: Mapping[str, Any], place: Mapping[str, Any]) -> View | None:
    """Return the view of one target from what its mirror and its place say, parsed."""
    said = {name: {**mirror, **place}.get(name) for name in PARSERS}
    if not any(value is not None for value in said.values()):
        return None
    return View(said["where"], said["attributes"] or Shape(), said["transform"], said["key"] or {})


def typed(value: Any) -> Wire:
    """Return a TOML value in DynamoDB's wire form; ``{ S = "text" }`` is taken as it is."""
    match value:
        case bool():
            wire: Wire = {"BOOL": value}
        case str():
            wire = {"S": value}
        case int() | float():
            wire = {"N": repr(value)}
        case list():
            wire = {"L": [typed(each) for each in value]}
        case dict() if len(value) == 1 and next(iter(value)) in TYPES:
            wire = value
        case dict():
            wire = {"M": {name: typed(each) for name, each in value.items()}}
        case _:
            raise UnfitError(f"write text, a number, true, false, a list or a table, not {value!r}")
    return wire


def _mask(how: object) -> Mask:
    if isinstance(how, str) and how in (Hiding.HASH, Hiding.REDACT):
        return Mask(Hiding(how))
    if isinstance(how, dict) and how.keys() == {"truncate"}:
        length = how["truncate"]
        if type(length) is int and length > 0:
            return Mask(Hiding.TRUNCATE, length)
    raise UnfitError('mask with "hash", "redact" or { truncate = 10 }')


def _names(raw: Mapping[str, Any], name: str) -> frozenset[str]:
    value = raw.get(name, [])
    if not isinstance(value, list):
        raise UnfitError(f'write {name} as a list of attributes: ["email"]')
    return frozenset(attribute(each) for each in value)


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name, {})
    if not isinstance(value, dict):
        raise UnfitError(f"write {name} as a table: {name} = {{ ... }}")
    for key_name in value:
        if not 0 < len(key_name.encode()) <= ATTRIBUTE_BYTES_MAX:
            raise UnfitError(f"{name} names an attribute of 1 to {ATTRIBUTE_BYTES_MAX} bytes")
    return value


def _variable(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not re.fullmatch(_VARIABLE, value)):
        raise UnfitError('name an environment variable, such as secret_env = "DYNAMIRROR_SECRET"')
    return value


def _no_more(raw: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if more := sorted(set(raw) - set(known)):
        raise UnfitError(f"no such key: {', '.join(more)}; known here: {', '.join(known)}")

"""Several document paths at once: DynamoDB's ProjectionExpression, and where updates write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dynamirror.core.expressions import CACHED_TEXTS, Names, Path, Reader, Step
from dynamirror.core.values import Wire
from dynamirror.core.words import ExpressionError

Tree = dict[Any, Any]
"""Paths by their steps: a dict at each step on the way, and what stands at the end of each path."""


def tree(leaves: Iterable[tuple[tuple[Step, ...], Any]]) -> Tree:
    """Return the paths as one tree, to walk an item once for all of them.

    Raises ExpressionError where one path lies in another, or two take one attribute for a map and
    for a list.
    """
    root: Tree = {}
    for steps, leaf in leaves:
        branch = root
        for depth, step in enumerate(steps):
            last = depth == len(steps) - 1
            if branch and isinstance(next(iter(branch)), int) != isinstance(step, int):
                raise ExpressionError(f"two paths conflict: {_spelled(steps)} and another")
            if step in branch and (last or not isinstance(branch[step], dict)):
                raise ExpressionError(f"two paths overlap: {_spelled(steps)} and another")
            if last:
                branch[step] = leaf
            else:
                branch = branch.setdefault(step, {})
    return root


def _spelled(steps: Iterable[Step]) -> str:
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")


@dataclass(frozen=True, slots=True)
class Projection:
    """A ProjectionExpression: which parts of an item to return."""

    paths: tuple[Path, ...]
    aliases: tuple[str, ...]
    bare: tuple[str, ...]

    def bound(self, names: Names) -> Tree:
        """Return the paths as a tree for ``projected``. Raises ExpressionError for overlaps."""
        return tree((path.resolved(names), None) for path in self.paths)


@lru_cache(CACHED_TEXTS)
def parse_projection(text: str) -> Projection:
    """Read a ProjectionExpression. Raises ExpressionError."""
    reader = Reader(text)
    paths = [reader.path()]
    while reader.takes(","):
        paths.append(reader.path())
    reader.finish()
    return Projection(tuple(paths), tuple(reader.aliases), tuple(reader.bare))


def projected(item: Wire, wanted: Tree) -> Wire:
    """Return the parts of an item that a tree of paths names; list members close up, in order."""
    parts: Wire = {}
    for name in wanted:
        value = item.get(name)
        part = None if value is None else _part(value, wanted[name])
        if part is not None:
            parts[str(name)] = part
    return parts


def _part(value: Wire, branch: Tree | None) -> Wire | None:
    if branch is None:
        return value
    if isinstance(next(iter(branch)), int):
        members = value.get("L", [])
        places = [place for place in sorted(branch) if place < len(members)]
        found = [_part(members[place], branch[place]) for place in places]
        kept = [member for member in found if member is not None]
        return {"L": kept} if kept else None
    members = projected(value.get("M", {}), branch)
    return {"M": members} if members else None

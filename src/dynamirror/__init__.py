"""dynamirror keeps DynamoDB tables the same; ``versioned`` is what an application imports of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamirror.writer import versioned

__all__ = ["versioned"]


def __getattr__(name: str) -> Any:
    """Load ``versioned`` when it is asked for: the Lambda handler's cold start does without."""
    if name != "versioned":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dynamirror.writer import versioned  # noqa: PLC0415

    return versioned

"""dynamirror keeps DynamoDB tables the same; what is named here is what an application imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamirror.writer import health, lag_from, versioned

__all__ = ["health", "lag_from", "versioned"]


def __getattr__(name: str) -> Any:
    """Load these when they are asked for: the Lambda handler's cold start does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dynamirror import writer  # noqa: PLC0415

    return getattr(writer, name)

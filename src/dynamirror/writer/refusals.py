"""What a versioned client says itself; all else is the service's own word, passed on."""

from __future__ import annotations

from dynamirror.errors import DynamirrorError


class RefusedWriteError(DynamirrorError, ValueError):
    """A write that can't be given a version as it is; nothing was sent. The text says what to
    write instead.
    """

    hint = "Write it as the text says, or leave the table out with versioned(..., tables=...)."


class VersionError(DynamirrorError, ValueError):
    """A version is no integer of 0 to 10^37 - 1, so nothing can be above it."""

    hint = "Remove the attribute from the item, or name another: version_attribute=..."


class OutpacedError(DynamirrorError):
    """Others saved the item again and again while this write was on its way; it was not made."""

    retryable = True
    hint = "Try again later; many writers at one item are better served by update_item."

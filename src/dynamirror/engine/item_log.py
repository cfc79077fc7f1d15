"""What befell one item, for logs that were asked to know keys.

Nobody's log gets to see a key unless somebody asks for it (``run --log-keys``, or the function's
``DYNAMIRROR_LOG_KEYS``): these lines have a logger of their own, which is silent until then. Images
are never logged.
"""

from __future__ import annotations

import logging

from dynamirror.core.values import Wire, encode

SILENT = logging.CRITICAL + 1

log = logging.getLogger("dynamirror.items")
log.setLevel(SILENT)


def show_keys(*, asked: bool) -> None:
    """Have keys logged, or not."""
    log.setLevel(logging.INFO if asked else SILENT)


def log_item(fact: str, keys: Wire, text: str, **about: str) -> None:
    """Tell what befell an item; ``about``: its mirror, link or target, where that is known."""
    if log.isEnabledFor(logging.WARNING):
        told = f"{encode(keys).decode()} {text}"
        log.warning(told, extra={"fact": fact, "key": keys, **about})

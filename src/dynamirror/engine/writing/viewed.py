"""What targets were last brought to see, so that a changed view is noticed.

The row ``#views`` beside a source has a digest of each target's view. It is written when a mirror
begins, and again once the target was copied or compared as a whole: in between, a target holds
what the old view let it have. A hash's secret is no part of the digest: that it is a new one, only
verify can see.
"""

from __future__ import annotations

import msgspec

from dynamirror.config.model import Mirror
from dynamirror.engine.stream.checkpoints import Checkpoints, Known

VIEWS_ROW = "#views"

WHOLE = ""
"""Stands for the digest of a target that gets whole items."""


def changed_views(mirror: Mirror, known: Known) -> list[str]:
    """Return the targets that see another view now than what they hold was made by."""
    if VIEWS_ROW not in known.rows:
        return []
    before = _decode(known.rows[VIEWS_ROW]["digests"])
    now = _digests(mirror)
    return sorted(name for name in now if name in before and before[name] != now[name])


async def note_views(checkpoints: Checkpoints, mirror: Mirror) -> None:
    """Write down that every target holds what its present view lets it have."""
    digests = msgspec.json.encode(_digests(mirror), order="deterministic").decode()
    await checkpoints.put(VIEWS_ROW, digests=digests)


def _digests(mirror: Mirror) -> dict[str, str]:
    views = {name: view.digest for name, view in mirror.views.items()}
    return {place.name: views.get(place.name, WHOLE) for place in mirror.targets}


_decode = msgspec.json.Decoder(dict[str, str]).decode

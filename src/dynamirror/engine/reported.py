"""Which keys hold a write that raised no version and that nobody mirrors; see ``core.reported``."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from dynamirror.config.model import Mirror, Side, Unversioned
from dynamirror.core.mesh import Mesh
from dynamirror.core.reported import LIST, Reporting
from dynamirror.core.rows import plain
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Wire, key_of
from dynamirror.engine.item_log import log_item
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.errors import NotFoundError

log = logging.getLogger("dynamirror")


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    replica: str
    """Where it was written."""
    key: Wire
    at_ms: int
    hides: Wire
    """The rank that it hides, in wire form."""


def reports(mirror: Mirror) -> bool:
    """Tell whether a mirror lists them at all."""
    return isinstance(mirror, Side) and mirror.unversioned is Unversioned.REPORT


async def reported(mirror: Mirror, checkpoints: Checkpoints) -> list[Reported]:
    """Return those of one replica; none before there is a list."""
    try:
        rows = await checkpoints.beside(LIST).rows()
    except NotFoundError:
        return []
    found: list[dict[str, Any]] = [plain(row) for row in rows.values()]
    name = mirror.source.name
    return [
        msgspec.convert({"replica": name, "key": row["keys"], **row}, Reported) for row in found
    ]


def rules_of(side: Side, mesh: Mesh) -> TwoWay:
    """Return the rules of one replica's consumer."""
    if not reports(side):
        return TwoWay(mesh, side.source.name)
    told = False

    def tell(keys: Wire) -> None:
        nonlocal told
        if not told:
            why = (
                "an item was saved without raising its version, and differs until it is saved again"
            )
            log.warning("mirror %s: %s; `dynamirror verify` lists all such", side.title, why)
        told = True
        log_item("unversioned", keys, "was saved without raising its version", mirror=side.title)

    return Reporting(mesh, side.source.name, side.checkpoints, side.link, tell)


async def fill(rules: TwoWay, side: Side, checkpoints: Checkpoints) -> None:
    """Have the rules know what is listed."""
    if isinstance(rules, Reporting):
        rules.reported = {
            key_of(one.key): rules.peers.rank(
                int(one.hides["version"]["N"]), one.hides["origin"]["S"]
            )
            for one in await reported(side, checkpoints)
        }

"""What the two-way rules ask for, carried out by every server."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.contracts.conftest import TableHelper

from dynamirror.core.ledger import Tombstone
from dynamirror.core.mesh import Mesh, Replica, Skip
from dynamirror.core.record import StreamRecord
from dynamirror.core.stamp import Stamp
from dynamirror.core.two_way import TwoWay
from dynamirror.core.values import Wire, key_of, row_key

KEYS: Wire = {"id": {"S": "a"}}


def test_an_item_without_a_version_is_not_taken_for_a_late_put(
    make_table: Callable[..., TableHelper],
) -> None:
    """A late put that brought an item back is removed again; what an application has put in its
    place meanwhile stays, to be raised, also where a server holds what is missing equal.
    """
    table, ledger = make_table(), make_table(keys="k:S")
    replicas = [Replica(name, table.name, ledger.name, "none") for name in ("there", "here")]
    rules = TwoWay(Mesh("m", tuple(replicas)), "here")
    now_s = int(time.time())
    deleted = Tombstone(rules.peers.rank(6, "there"), {}, now_s + 60)
    bury = rules.ledger.bury(ledger.name, row_key("m", key_of(KEYS)), deleted, now_s)
    ledger.service.ask("UpdateItem", **bury)
    stamp = Stamp(rules.peers.rank(5, "there"), {})
    late = rules.marks.stamped({**KEYS, "version": {"N": "5"}}, stamp)
    record = StreamRecord(1, "INSERT", key_of(KEYS), KEYS, late, None, now_s, by_ttl=False)

    def judged() -> object:
        return table.service.carry_out(rules.local(record, now_s * 1_000), ("there", "here"))

    assert isinstance(late, dict)
    table.put(late)
    assert judged() is Skip.OUTRANKED
    assert table.get(KEYS) is None

    own = {**KEYS, "value": {"S": "ours"}}
    table.put(own)
    assert judged() is Skip.OUTRANKED
    assert table.get(KEYS) == own

"""A backfill of a large table beside live writes, killed again and again.

``python -m tests.soak.copies --items 300000 --kills 5``. A table of items of 300 bytes, older than
its stream; a writer that puts, deletes and makes again as fast as the server allows; the engine;
and a backfill that is killed (``kill -9``) and started again. In the end ``verify`` must say equal,
and so must a comparison that owes nothing to the package. Prints a row of figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.servers import running
from tests.storm.world import SOURCE, Child, World, client

from dynamirror.core.values import Wire

BATCH = 25
TEXT = "x" * 279
"""With key and number, an item of 300 bytes."""


class Peak:
    """The most memory that any of the processes watched has had resident."""

    def __init__(self) -> None:
        self.kb = 0

    def look(self, child: Child) -> None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
        except OSError:
            return
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        self.kb = max([self.kb, *map(int, found)])


def fill(url: str, table: str, items: int) -> None:
    """Put items into the source, by a few threads."""

    def put(first: int) -> None:
        api = client(url, SOURCE)
        for at in range(first * BATCH, items, 4 * BATCH):
            entries = [
                {
                    "PutRequest": {
                        "Item": {
                            "id": {"S": f"item-{key:05d}"},
                            "n": {"N": str(key)},
                            "text": {"S": TEXT},
                        }
                    }
                }
                for key in range(at, min(at + BATCH, items))
            ]
            api.batch_write_item(RequestItems={table: entries})
        api.close()

    threads = [threading.Thread(target=put, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def digests(api: Any, table: str) -> Iterator[tuple[str, bytes]]:
    """Yield each item's key and a digest of it: two tables of any size fit into memory."""
    for page in api.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            item.pop("_mirror_seq", None)
            yield item["id"]["S"], hashlib.sha256(plain(item).encode()).digest()[:16]


def plain(item: Wire) -> str:
    """Spell an item in one way: sets have no order, and bytes are no JSON."""
    one = {
        name: {kind: sorted(body) if kind in ("SS", "NS", "BS") else body}
        for name, value in item.items()
        for kind, body in value.items()
    }
    return json.dumps(one, sort_keys=True, default=lambda value: value.hex())


def differences(world: World) -> int:
    mine = dict(digests(world.source, world.table))
    wrong = sum(mine.pop(key, None) != digest for key, digest in digests(world.target, world.table))
    return wrong + len(mine)


def copied(world: World, kills: int, every_s: float, peak: Peak) -> tuple[Wire, float]:
    """Backfill, killed so many times; return the summary and the seconds that the last one took."""
    dice = random.Random(kills)
    for left in range(kills, -1, -1):
        child = world.start("backfill", "--yes", "--json")
        began = time.monotonic()
        until = began + every_s * (0.5 + dice.random()) if left else float("inf")
        while not child.ended and time.monotonic() < until:
            peak.look(child)
            time.sleep(0.05)
        if left and not child.ended:
            child.kill()
            tell(f"  killed after {time.monotonic() - began:.0f} s")
            continue
        if child.end() != 0:
            raise SystemExit(child.said)
        return json.loads(child.said.splitlines()[-1]), time.monotonic() - began
    raise AssertionError("unreachable")


def main() -> int:
    chosen = arguments()
    with running() as server, tempfile.TemporaryDirectory(prefix="copies-") as folder:
        if server.url is None:
            raise SystemExit("this needs a server on this machine")
        peak, verifying = Peak(), Peak()
        with World(server.url, Path(folder), chosen.guard, stream=False) as world:
            tell(f"filling {chosen.items:,} items")
            fill(server.url, world.table, chosen.items)
            world.switch_stream(on=True)
            engine = world.start("run")
            changes = {"seed": 1, "keys": chosen.items, "changes": chosen.changes}
            writer = world.writer(**changes, rate=chosen.rate)
            began = time.monotonic()
            summary, last_s = copied(world, chosen.kills, chosen.every, peak)
            took_s = time.monotonic() - began
            writer.end(within_s=3_600)
            engine.terminate()
            if (status := world.command("run", "--once"))[0]:
                raise SystemExit(status[1])
            tell(f"  copied in {took_s:.0f} s, peak {peak.kb // 1_024} MB")
            wrong, compared_s = timed(lambda: differences(world))
            tell(f"  differences {wrong}, in {compared_s:.0f} s")
            verify = world.start("verify", "--json")

            def watch() -> int:
                while not verify.ended:
                    verifying.look(verify)
                    time.sleep(0.05)
                return verify.end()

            ended, verify_s = timed(watch)
            told = json.loads(verify.said.splitlines()[-1])
        found = "equal" if ended == 0 else "drift"
        tell(
            f"guard {chosen.guard}: {chosen.items:,} items, {chosen.kills} kills, {took_s:.0f} s "
            f"in all, {last_s:.0f} s the last attempt, which went on after {summary['resumed']:,}; "
            f"{chosen.changes:,} changes meanwhile; peak {peak.kb // 1_024} MB (verify "
            f"{verifying.kb // 1_024}); verify {found}: {told['items']:,} items in "
            f"{verify_s:.0f} s, {told['items'] / verify_s:,.0f} a second; "
            f"the other comparison: {wrong} differences, {compared_s:.0f} s"
        )
        return 0 if ended == 0 and not wrong else 1


def timed(work: Callable[[], int]) -> tuple[int, float]:
    began = time.monotonic()
    return work(), time.monotonic() - began


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.copies", description=__doc__)
    parser.add_argument("--items", type=int, default=300_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two, about")
    parser.add_argument("--guard", default="order")
    parser.add_argument("--changes", type=int, default=30_000)
    parser.add_argument("--rate", type=float, help="changes a second at most")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""What looking costs the engine: python -m tests.web.figures.

CPU time of the engine's thread while an application writes 200 changes a second to one mirror in
memory, without a reader of the dashboard, and with one that asks every second as a browser does;
and how long ``status`` takes over the tables. The memory server's share is in both.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.web.stand import US, Stand, story

from dynamirror.runtimes.watching import status_of
from dynamirror.web.app import page_files

SECONDS = 20.0
PER_SECOND = 200.0
ROUNDS = 3


async def cpu_s() -> float:
    return time.thread_time()


def engine_cpu(*, looked_at: bool) -> float:
    """Return the share of one core that the engine's thread takes."""
    with tempfile.TemporaryDirectory() as folder, Stand(Path(folder)) as stand:
        stand.run()
        stand.do(lambda: asyncio.sleep(2))
        before, began, number, asked, newest = stand.do(cpu_s), time.monotonic(), 0, 0.0, 0
        while (passed := time.monotonic() - began) < SECONDS:
            number += 1
            stand.put(US, "Stories", story(f"{number % 500}", number))
            if looked_at and passed - asked >= 1:
                asked = passed
                url = f"{stand.url}api/state?since={newest}"
                with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
                    newest = json.loads(answer.read())["at_ms"]
            time.sleep(max(0.0, number / PER_SECOND - (time.monotonic() - began)))
        return (stand.do(cpu_s) - before) / SECONDS


def status_ms() -> float:
    """Return the time that one look at a mirror and its judgement take, tables in memory."""
    with tempfile.TemporaryDirectory() as folder, Stand(Path(folder)) as stand:
        stand.run()
        (mirror,) = stand.wiring.config.mirrors

        async def look() -> float:
            began = time.perf_counter()
            for _ in range(100):
                await status_of(stand.watch.wiring, mirror)
            return (time.perf_counter() - began) * 10

        return stand.do(look)


def main() -> None:
    alone = [engine_cpu(looked_at=False) for _ in range(ROUNDS)]
    looked = [engine_cpu(looked_at=True) for _ in range(ROUNDS)]
    size = sum(len(file.body) for path, file in page_files().items() if path != "/")
    print(f"engine alone       {min(alone):6.2%} of a core")  # noqa: T201
    print(f"engine, looked at  {min(looked):6.2%} of a core")  # noqa: T201
    print(f"page               {size:,} bytes in {len(page_files()) - 1} files")  # noqa: T201
    print(f"status             {status_ms():.1f} ms a mirror, beside the requests' round trips")  # noqa: T201


if __name__ == "__main__":
    main()

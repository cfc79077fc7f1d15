"""The engine as one process: every mirror of a configuration at once, until told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from dynamirror.config.model import Mirror, Side
from dynamirror.engine.comparing.mended import Repairer
from dynamirror.engine.comparing.one_item import Looker
from dynamirror.engine.comparing.repair import OneWayRepairer
from dynamirror.engine.comparing.resync import TwoWayRepairer
from dynamirror.engine.comparing.verify import Verifier
from dynamirror.engine.copying.backfill import Backfill
from dynamirror.engine.copying.meter import Budget, Meter
from dynamirror.engine.held.redrive import Redriver
from dynamirror.engine.journal import Journal
from dynamirror.engine.members.sites import Site
from dynamirror.engine.source import described
from dynamirror.engine.station import Station
from dynamirror.engine.stream.consumer import Consumer
from dynamirror.engine.stream.lease import Lease
from dynamirror.engine.writing.limiter import Pace
from dynamirror.errors import DynamirrorError, Exit
from dynamirror.runtimes.identity import is_dead, me
from dynamirror.runtimes.presence import see_running
from dynamirror.wiring import Wiring

T = TypeVar("T")

log = logging.getLogger("dynamirror")

SEVERITY = (Exit.DONE, Exit.FINDING, Exit.UNUSABLE, Exit.HISTORY_LOST)
"""Of several mirrors' ends, the process reports the gravest: the rightmost."""


def lease_of(wiring: Wiring, mirror: Mirror) -> Lease:
    """Return this process's claim to read a mirror's stream."""
    return Lease(wiring.checkpoints(mirror), me(), clock=wiring.clock, is_dead=is_dead)


def station_of(
    wiring: Wiring, mirror: Mirror, meters: Mapping[str, Meter] | None = None
) -> Station:
    """Return what this process works at a mirror with; ``meters``: through which it sends."""
    return Station(
        wiring.links(mirror, meters),
        meters[mirror.source.name] if meters else wiring.source(mirror),
        wiring.checkpoints(mirror),
        lease_of(wiring, mirror),
        wiring.clock,
        wiring.backoff,
    )


def consumer_of(wiring: Wiring, mirror: Mirror) -> Consumer:
    """Return what runs one mirror in this process."""
    return Consumer(station_of(wiring, mirror))


def backfill_of(
    wiring: Wiring,
    mirror: Mirror,
    *,
    read_units_max: float | None = None,
    write_units_max: float | None = None,
) -> Backfill:
    """Return what copies a mirror's source from this process.

    ``read_units_max`` and ``write_units_max``: units a second of the source's and of each target's
    table.
    """
    budgets = {place.name: Budget(write_units_max) for place in mirror.targets if write_units_max}
    scans = Pace(read_units_max) if read_units_max else None
    meters = {
        name: Meter(api, scans=scans, budget=budgets.get(name))
        for name, api in wiring.apis(mirror).items()
    }
    station = station_of(wiring, mirror, meters)
    station.links.keep_to(budgets)
    return Backfill(station, meters)


def verifier_of(wiring: Wiring, mirror: Mirror) -> Verifier:
    """Return what compares a mirror's tables from this process."""
    return Verifier(
        wiring.links(mirror),
        wiring.source(mirror),
        {place.name: wiring.api(place, mirror.transport) for place in mirror.targets},
        [
            (wiring.checkpoints(side), lease_of(wiring, side))
            for side in wiring.config.mirrors
            if side.name == mirror.name
        ],
        clock=wiring.clock,
        backoff=wiring.backoff,
    )


def sites_of(wiring: Wiring, name: str) -> list[Site]:
    """Return the replicas of a two-way mirror in their order, to be worked on."""
    return [
        Site(
            side,
            wiring.source(side),
            wiring.checkpoints(side),
            lease_of(wiring, side),
            wiring.backoff,
            partial(wiring.mesh, side),
        )
        for side in wiring.config.mirrors
        if isinstance(side, Side) and side.name == name
    ]


def repairer_of(wiring: Wiring, mirror: Mirror) -> Repairer:
    """Return what repairs a mirror's items from this process."""
    targets = {place.name: wiring.api(place, mirror.transport) for place in mirror.targets}
    if not isinstance(mirror, Side):
        return OneWayRepairer(station_of(wiring, mirror), targets)
    sides = [side for side in wiring.config.mirrors if side.name == mirror.name]
    return TwoWayRepairer(
        mirror,
        {mirror.source.name: wiring.source(mirror), **targets},
        [wiring.links(side).parking_of(epoch=1) for side in sides],
        clock=wiring.clock,
        backoff=wiring.backoff,
    )


async def looker_of(wiring: Wiring, mirror: Mirror) -> Looker:
    """Return what looks at single items of a mirror. Raises NotFoundError without its source."""
    backoff = wiring.backoff
    sides = [side for side in wiring.config.mirrors if side.name == mirror.name]
    return Looker(
        wiring.links(mirror),
        wiring.apis(mirror),
        await described(wiring.source(mirror), mirror.source.table, backoff),
        repairer=repairer_of(wiring, mirror),
        parkings=[wiring.links(side).parking_of(epoch=1) for side in sides],
        journal=journal_of(wiring, mirror) if isinstance(mirror, Side) else None,
        clock=wiring.clock,
        backoff=backoff,
    )


def journal_of(wiring: Wiring, side: Side) -> Journal:
    """Return the journals of a two-way mirror."""
    apis = {place.name: wiring.api(place, side.transport) for place in side.replicas}
    return Journal(side, apis, clock=wiring.clock, backoff=wiring.backoff)


def redriver_of(wiring: Wiring, mirror: Mirror) -> Redriver:
    """Return what redrives a mirror's parked keys from this process."""
    return Redriver(station_of(wiring, mirror))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where that is installed."""
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


async def mirror_all(
    wiring: Wiring,
    *,
    once: bool = False,
    on_start: Callable[[list[Consumer]], None] = lambda _: None,
) -> Exit:
    """Run every mirror; one that stops does not stop the others.

    SIGTERM and SIGINT end it in order: what was read is applied, positions are saved.
    """
    mirrors = wiring.config.mirrors
    consumers = [consumer_of(wiring, mirror) for mirror in mirrors]
    on_start(consumers)
    tasks = [
        asyncio.create_task(_run(wiring, mirror, consumer, once=once))
        for mirror, consumer in zip(mirrors, consumers, strict=True)
    ]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, tasks)
    try:
        ends = await asyncio.gather(*tasks)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await wiring.close()
    return max(ends, key=SEVERITY.index)


def _stop(tasks: list[asyncio.Task[Exit]]) -> None:
    waiting = [task for task in tasks if not task.done()]
    if waiting:
        log.info("stopping: what was read is still applied")
    for task in waiting:
        task.cancel()


async def _run(wiring: Wiring, mirror: Mirror, consumer: Consumer, *, once: bool) -> Exit:
    name = mirror.title

    def about(fact: str) -> dict[str, str]:
        return {"fact": fact, "mirror": name, "link": mirror.link}

    log.info("mirror %s: starting", name, extra=about("starting"))
    try:
        await see_running(wiring, mirror)
        await consumer.run(once=once)
    except asyncio.CancelledError:
        log.info("mirror %s: stopped, positions are saved", name, extra=about("stopped"))
        if once and not consumer.drained:
            unapplied = "mirror %s: not everything was applied yet"
            log.warning(unapplied, name, extra=about("unapplied"))
            return Exit.FINDING
    except DynamirrorError as error:
        hint = error.hint.replace("NAME", mirror.name)
        told = "mirror %s stopped: %s. %s"
        log.error(told, name, error, hint, extra=about("failed"))  # noqa: TRY400
        return error.exit_status
    parking = consumer.links.parking
    if parking is not None and parking.held:
        told = "mirror %s: %d keys are parked; see `dynamirror redrive`"
        log.warning(told, name, parking.held, extra=about("parked"))
        return Exit.FINDING
    return Exit.DONE


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory

"""``dynamirror replica``: a replica joins a two-way mirror at work, or leaves it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import click
import msgspec

from dynamirror.cli.arguments import chosen, open_output, reporting, wired
from dynamirror.cli.output import Output, Progressing
from dynamirror.engine.comparing.compared import Compared
from dynamirror.engine.comparing.suspects import Drift
from dynamirror.engine.copying.copier import Copied, Left
from dynamirror.engine.members.joining import MS_PER_DAY, Joining, Looked
from dynamirror.engine.members.leaving import Leave, Leaving
from dynamirror.engine.members.roster import Member
from dynamirror.engine.members.sites import Site
from dynamirror.engine.tables.building import carry_out
from dynamirror.engine.tables.findings import label
from dynamirror.engine.tables.furniture import observe
from dynamirror.engine.tables.provision import plan
from dynamirror.errors import ConfigError, Exit
from dynamirror.runtimes.process import consumer_of, run, sites_of, verifier_of
from dynamirror.wiring import Wiring

mirror_option = click.option("--mirror", metavar="NAME", required=True, help="The mirror.")
replica_option = click.option(
    "--replica", metavar="REPLICA", required=True, help="The replica's name, or its region."
)
yes_option = click.option("--yes", is_flag=True, help="Do it; without this it is only shown.")


@click.group("replica")
def command() -> None:
    """Have a replica join a two-way mirror at work, or leave it.

    The configuration says which replicas there should be, and these commands bring it about.
    A new replica is appended to the file first; one that leaves stays in it until it has left.

    \b
    Example:
      dynamirror replica add mirrors.toml --mirror sessions --replica ap-southeast-2
      dynamirror replica remove mirrors.toml --mirror sessions --replica ap-southeast-2

    Exit status: 0 done or nothing to do, 1 drift or something left out, 2 error, 3 history lost.
    """  # noqa: D301 - click reads the \b


@command.command("add")
@reporting
@mirror_option
@replica_option
@click.option(
    "--rebuild", is_flag=True, help="Make it a copy of the others, whatever it holds by itself."
)
@yes_option
@click.pass_context
def add(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str,
    replica: str,
    rebuild: bool,
    yes: bool,
) -> None:
    """Have the file's last replica join, or come back.

    Makes what is missing of its tables, tells the others' engines of it, carries their tombstones
    and items there by rank, beside live writes, and compares. Engines that were started with an
    older file stop then: start them again with this one. Writers should wait until it is done.

    One that comes back after more than tombstone_days, or has items although it never took part,
    is refused: what the others deleted would come back. --rebuild takes away all that no other
    replica has, into its journal (`dynamirror conflicts`, reason rebuilt).

    Killed at any point, it goes on from there when it is run again.

    \b
    Example:
      dynamirror replica add mirrors.toml --mirror sessions --replica ap-southeast-2
      dynamirror replica add mirrors.toml --mirror sessions --replica ap-southeast-2 --yes

    Exit status: 0 joined, or shown, 1 drift or items left out, 2 error, 3 history lost.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config)
    sites, name = _sites(wiring, mirror, replica)
    joining = Joining(sites, name, clock=wiring.clock, backoff=wiring.backoff)
    adding = _Adding(wiring, output, sites, joining)
    ctx.exit(run(_closing(wiring, adding.run(rebuild=rebuild, yes=yes))))


@command.command("remove")
@reporting
@mirror_option
@replica_option
@click.option("--abandon", is_flag=True, help="It is gone for good: ask nothing of it.")
@yes_option
@click.pass_context
def remove(
    ctx: click.Context,
    config: str,
    *,
    as_json: bool,
    verbose: bool,
    mirror: str,
    replica: str,
    abandon: bool,
    yes: bool,
) -> None:
    """Have a replica leave; its tables stay as they are.

    What was written there is brought to the others first, so take its writers off before. Then
    the others' engines are told, and stop: take the replica out of the file and start them again.

    \b
    Example:
      dynamirror replica remove mirrors.toml --mirror sessions --replica ap-southeast-2
      dynamirror replica remove mirrors.toml --mirror sessions --replica ap-southeast-2 --yes

    Exit status: 0 it has left, or shown, 2 error, 3 history lost.
    """  # noqa: D301 - click reads the \b
    output = open_output(as_json=as_json, verbose=verbose, as_lines=True)
    wiring = wired(ctx, config)
    sites, name = _sites(wiring, mirror, replica)
    leaving = Leaving(sites, name, clock=wiring.clock)
    going = next(site for site in sites if site.name == name)

    async def work() -> Exit:
        leave = await leaving.look(abandon=abandon)
        _show(output, mirror, name, _leave_steps(name, leave, abandon=abandon), done=leave.left)
        if leave.left or not yes:
            _unchanged(output, done=leave.left)
            return Exit.DONE
        consumer = None if abandon else consumer_of(wiring, going.side)
        await leaving.run(consumer, leave, _teller(output))
        output.say(f"{name} has left {mirror}: take it out of {wiring.config.path}, then start")
        output.say("the engines again. Its tables are as they were.")
        output.line("summary", mirror=mirror, replica=name, state=Member.LEFT.value)
        return Exit.DONE

    ctx.exit(run(_closing(wiring, work())))


class _Adding:
    """``add`` after its arguments are read."""

    def __init__(
        self, wiring: Wiring, output: Output, sites: Sequence[Site], joining: Joining
    ) -> None:
        self._wiring = wiring
        self._output = output
        self._sites = sites
        self._joining = joining
        self._left = 0

    async def run(self, *, rebuild: bool, yes: bool) -> Exit:
        wiring, output, new = self._wiring, self._output, self._sites[-1]
        looked = await self._joining.look(rebuild=rebuild)
        sides = [site.side for site in self._sites]
        made = plan(sides, await observe(sides, wiring.api, wiring.backoff))
        steps = [] if looked.joined else [step.sentence for step in made.steps]
        steps += _join_steps(new, looked)
        _show(output, new.side.name, new.name, steps, done=looked.joined)
        if looked.joined or not yes:
            _unchanged(output, done=looked.joined)
            return Exit.DONE
        tell = _teller(output)
        await carry_out(made, wiring.api, wiring.backoff, lambda step: tell(step.sentence))
        with output.progress("replica add") as progress:
            await self._joining.run(looked, tell, _shown(progress), self._leave_out)
        compared = await self._verify(tell)
        if compared.equal and not self._left:
            await self._joining.finish(looked)
            output.say(f"{new.name} has joined {new.side.name}", "good")
        else:
            output.say("not all is equal: mend it, then run the same command again", "bad")
        output.line(
            "summary",
            mirror=new.side.name,
            replica=new.name,
            state=(Member.MEMBER if compared.equal and not self._left else Member.COPYING).value,
            left=self._left,
            **msgspec.structs.asdict(compared),
        )
        return Exit.DONE if compared.equal and not self._left else Exit.FINDING

    def _leave_out(self, left: Left) -> None:
        self._left += 1
        key = msgspec.json.encode(left.key).decode()
        self._output.say(f"{key} can't be copied to {left.target}: {left.error}", "bad")
        self._output.line("left", **msgspec.structs.asdict(left))

    async def _verify(self, tell: Callable[[str], None]) -> Compared:
        """Compare with its neighbour, which compares itself with nobody else."""
        before, new = self._sites[-2], self._sites[-1]
        tell(f"comparing {new.name} with {before.name}")

        def drifted(drift: Drift) -> None:
            key = msgspec.json.encode(drift.key).decode()
            self._output.say(f"{drift.kind} at {drift.target}: {key}", "bad")
            self._output.line("drift", **msgspec.structs.asdict(drift))

        with self._output.progress("verify") as progress:
            return await verifier_of(self._wiring, before.side).run(
                drifted,
                lambda so_far: progress.update(
                    before.side.title, so_far.items, so_far.expected_items
                ),
            )


def _sites(wiring: Wiring, mirror: str, replica: str) -> tuple[list[Site], str]:
    """Return a mirror's replicas, and the name of the one meant. Raises ConfigError."""
    chosen(wiring.config, mirror)
    sites = sites_of(wiring, mirror)
    if not sites:
        raise ConfigError(f"mirror {mirror!r} is one-way: only two-way mirrors have replicas")
    places = [site.side.source for site in sites]
    found = [place.name for place in places if replica in (place.name, place.region)]
    found = [name for name in found if name == replica] or found
    if len(found) != 1:
        names = ", ".join(place.name for place in places)
        raise ConfigError(f"mirror {mirror!r} has no one replica {replica!r}; it has: {names}")
    return sites, found[0]


def _join_steps(new: Site, looked: Looked) -> list[str]:
    name, steps = label(new.side.source), []
    if looked.joined:
        return []
    if looked.away_ms is not None:
        steps.append(f"{name} comes back after {looked.away_ms / MS_PER_DAY:.1f} days")
    if looked.rebuild:
        steps.append(f"take from {name} what the others do not have; it goes to its journal")
    steps.append("pause the others' engines for a moment and tell them; those that were started")
    steps[-1] += " with an older file stop: start them again with this one"
    steps.append(f"carry the others' tombstones to {name}")
    if looked.holds_items and not looked.rebuild:
        steps.append(f"remove from {name} what was deleted meanwhile, journaling what nobody saw")
        steps.append(f"copy from {name} to the others what was saved there, by rank")
    steps.append(f"copy from the others to {name}, by rank, beside live writes")
    steps.append("compare")
    return steps


def _leave_steps(name: str, leave: Leave, *, abandon: bool) -> list[str]:
    steps = []
    if not leave.told:
        steps.append(f"bring to the others what was written at {name} and they do not have")
    elif abandon and not leave.left:
        steps.append(f"ask nothing of {name}: what was written there and not mirrored stays there")
    if leave.serving:
        steps.append(f"pause the engines of {', '.join(leave.serving)} for a moment and tell them;")
        steps[-1] += " they stop: take the replica out of the file and start them again"
    if not leave.told:
        steps.append(f"note beside {name} that it has left")
    return steps


def _show(output: Output, mirror: str, name: str, steps: Sequence[str], *, done: bool) -> None:
    output.line("plan", mirror=mirror, replica=name, steps=steps)
    if not done:
        output.say("to do:", "bold")
    for number, step in enumerate(steps, 1):
        output.say(f"  {number}. {step}")


def _unchanged(output: Output, *, done: bool) -> None:
    if done:
        output.say("nothing to do", "good")
    else:
        output.say("nothing was changed; --yes does it")


def _teller(output: Output) -> Callable[[str], None]:
    def tell(step: str) -> None:
        output.line("step", text=step)
        output.marked("doing", f"  {step}")

    return tell


def _shown(progress: Progressing) -> Callable[[str, Copied], None]:
    return lambda name, copied: progress.update(name, copied.items, copied.expected_items)


async def _closing(wiring: Wiring, work: Coroutine[Any, Any, Exit]) -> Exit:
    try:
        return await work
    finally:
        await wiring.close()

"""What ``dynamirror verify`` prints of what it finds and mends."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from dynamirror.cli.output import Output
from dynamirror.cli.wording import counted
from dynamirror.core.values import Key, key_of
from dynamirror.engine.comparing.compared import Compared
from dynamirror.engine.comparing.mended import Mended, Outcome
from dynamirror.engine.comparing.suspects import Drift, Reason

LINES_SHOWN_MAX = 50
"""Lines of drift, and of repair, for people; --json has them all."""


COMES_BACK = (
    "of which no ledger tells a delete. Such an item has never come to the other side, or was "
    "deleted there longer ago than tombstone_days, or in history that was lost; which, nothing can "
    "tell any more"
)

UNTOLD = {
    False: f"{COMES_BACK}. A repair or a backfill puts it back: delete it first where it is, if it "
    "should be gone",
    True: f"{COMES_BACK}: put back; delete what should be gone",
}
"""By whether they were mended."""


class Found:
    """Tells what is found and mended in one mirror, and counts it."""

    def __init__(
        self, output: Output, mirror: str, unversioned: Mapping[Key, str] = MappingProxyType({})
    ) -> None:
        """``unversioned``: where keys were saved without raising the version."""
        self.compared = Compared()
        self.outcomes = dict.fromkeys(Outcome, 0)
        self._gone = {"missing": 0, "extra": 0, "different": 0}
        self._output = output
        self._mirror = mirror
        self._unversioned = unversioned
        self._shown = {"drift": 0, "repair": 0}
        self._untold = 0

    def drift(self, drift: Drift) -> None:
        """Tell of an item that differs."""
        at = self._unversioned.get(key_of(drift.key))
        if at is not None:
            drift = msgspec.structs.replace(drift, reason=Reason.UNVERSIONED)
        self._output.line("drift", mirror=self._mirror, **msgspec.structs.asdict(drift))
        where = f" in {', '.join(drift.attributes)}" if drift.attributes else ""
        if at is not None:
            where += f": saved at {at} without raising the version"
        elif drift.reason is Reason.UNTOLD:
            self._untold += 1
            where = ": no ledger tells of a delete"
        if drift.why is not None:
            where += f": {drift.why}"
        self._say("drift", f"{drift.kind} at {drift.target}: {_shown(drift.key)}{where}")

    def mended(self, mended: Mended) -> None:
        """Tell what was done about it, or would be."""
        self.outcomes[mended.outcome] += 1
        if mended.outcome in (Outcome.REPAIRED, Outcome.EQUAL):
            self._gone[mended.kind] += 1
        self._output.line("repair", mirror=self._mirror, **msgspec.structs.asdict(mended))
        what = action_of(mended)
        though = f": {mended.why}" if mended.why else ""
        told = {
            Outcome.PLANNED: f"would {what}{though}",
            Outcome.REPAIRED: f"repaired: {what}{though}",
            Outcome.EQUAL: "equal by now",
            Outcome.LEFT: f"left: {mended.why}",
        }
        self._say("repair", f"{_shown(mended.key)}: {told[mended.outcome]}")

    def left(self) -> Compared:
        """Return what was found, without what is mended."""
        compared = self.compared
        kinds = {kind: getattr(compared, kind) - gone for kind, gone in self._gone.items()}
        return msgspec.structs.replace(compared, **kinds)

    @property
    def equal(self) -> bool:
        """Whether all was compared, and nothing differs any more."""
        return self.left().equal

    def conclude(self, *, repairing: bool, sure: bool) -> None:
        """Print how it ended."""
        compared, left, say = self.compared, self.left(), self._output.say
        name = self._mirror
        if compared.read_units:
            self._output.aside(f"{name}: {compared.read_units:,.1f} read units were charged")
        gone = f", of which {compared.expired:,} expired at the target" if compared.expired else ""
        if compared.equal:
            say(f"{name}: equal, {compared.items:,} items compared{gone}", "good")
            return
        flight = ""
        if compared.in_flight:
            flight = (
                f"; {compared.in_flight:,} could not be compared: they kept changing, or the mirror"
                " was too far behind"
            )
        drift = "drift" if compared.drift else "no drift found"
        told = (
            f"{drift}, {compared.items:,} items compared{gone}: {compared.missing:,} missing,"
            f" {compared.extra:,} extra, {compared.different:,} different{flight}"
        )
        style = "good" if left.equal else "bad"
        say(f"{name}: {told}", style)
        if self._untold:
            say(f"{name}: {counted(self._untold, 'item')} {UNTOLD[sure]}", "finding")
        if repairing:
            counts = self.outcomes
            mended = counts[Outcome.REPAIRED] + counts[Outcome.EQUAL]
            if sure:
                say(
                    f"{name}: {counted(mended, 'item')} mended, {counts[Outcome.LEFT]:,} left",
                    style,
                )
            else:
                say(f"{name}: {counted(counts[Outcome.PLANNED], 'item')} to mend: add --yes", style)

    def _say(self, about: str, text: str) -> None:
        self._shown[about] += 1
        if self._shown[about] <= LINES_SHOWN_MAX:
            self._output.say(f"{self._mirror}: {text}", "bad" if about == "drift" else "")
        elif self._shown[about] == LINES_SHOWN_MAX + 1:
            self._output.say(f"{self._mirror}: and more {about}; --json lists all of it", "bad")


def action_of(mended: Mended) -> str:
    """Say what is done about an item."""
    where = "everywhere else" if mended.origin == mended.target else f"at {mended.target}"
    return f"{mended.action} {where}, as {mended.origin} has it"


def _shown(key: Mapping[str, Any]) -> str:
    return msgspec.json.encode(key).decode()


def summary(done: Mapping[str, Found]) -> dict[str, object]:
    """Return the sums over all mirrors, and each mirror's figures."""
    each = [
        {"mirror": name, "equal": found.equal, **_figures(found)} for name, found in done.items()
    ]
    names = _figures(Found(Output(as_json=True), ""))
    sums = {name: sum(_figures(found)[name] for found in done.values()) for name in names}
    return {"equal": all(found.equal for found in done.values()), **sums, "mirrors": each}


def _figures(found: Found) -> dict[str, Any]:
    outcomes = {outcome.value: count for outcome, count in found.outcomes.items()}
    outcomes["equal_by_now"] = outcomes.pop("equal")
    return {**msgspec.structs.asdict(found.compared), **outcomes}

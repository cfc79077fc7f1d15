"""All that knows terminals: text and tables, progress, JSON.

Results go to stdout, everything about how it goes to stderr. Colours, bars and lines that redraw
themselves only on a terminal; JSON is one document or one object a line, and nothing else on
stdout with it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dynamirror.cli.wording import sized, typed, typed_members, wrapped
from dynamirror.errors import DynamirrorError

PLAIN_S = 5.0
"""Time between two lines of progress where there is no terminal."""

INDENT = 12
"""Where the text of a finding begins: behind its severity."""

STYLES = {
    "note": "dim",
    "finding": "yellow",
    "unusable": "bold red",
    "following": "green",
    "ok": "green",
    "new": "yellow",
    "elsewhere": "yellow",
    "paused": "yellow",
    "behind": "yellow",
    "away": "bold red",
    "stopped": "bold red",
    "lost": "bold red",
    "good": "green",
    "bad": "bold red",
}


class Output:
    """Where one command prints."""

    def __init__(self, *, as_json: bool, as_lines: bool = False) -> None:
        self.as_json = as_json
        self.as_lines = as_json and as_lines
        self._failures: list[dict[str, str]] = []
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)

    @property
    def live_terminal(self) -> bool:
        """Whether lines may redraw themselves."""
        return self._err.is_terminal and not self.as_json

    def say(self, text: str, style: str = "") -> None:
        """Print a line of the result; nothing with JSON."""
        if not self.as_json:
            self._print(Text(typed(text), STYLES.get(style, style)))

    def marked(self, word: str, rest: str) -> None:
        """Print a line that begins with a word in its colour."""
        if not self.as_json:
            self._print(Text.assemble((word, STYLES.get(word.strip(), "")), typed(rest)))

    def finding(self, severity: str, where: str, what: str, remedy: str) -> None:
        """Print what was found, where, and what to do about it, as wide as the terminal."""
        if self.as_json:
            return
        first, *others = wrapped(f"{where}: {what}", self._out.width, INDENT)
        self.marked(f"  {severity:<9}", f" {first.lstrip()}")
        for line in others:
            self.say(line)
        for line in wrapped(typed(remedy), self._out.width, INDENT, "remedy: ") if remedy else ():
            self.say(line)

    def paragraph(self, text: str, indent: int = 0, style: str = "") -> None:
        """Print a text in lines as wide as the terminal, later ones indented a little more."""
        for number, line in enumerate(wrapped(typed(text), self._out.width, indent + 2)):
            self.say(line if number else " " * indent + line.lstrip(), style)

    def aside(self, text: str) -> None:
        """Print a line about how it goes, on stderr."""
        self._err.print(Text(typed(text)))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print aligned columns, two blanks apart; none is ever cut."""
        if self.as_json:
            return
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for line in (header, *rows):
            parts = [
                Text(cell.ljust(width), STYLES.get(cell, "bold" if line is header else ""))
                for cell, width in zip(line, widths, strict=True)
            ]
            text = Text("  ").join(parts)
            text.rstrip()
            self._print(text)

    def _print(self, text: Text) -> None:
        # A console lifts its own lines above what redraws itself, not the other's.
        same = self._out.is_terminal and self.live_terminal
        (self._err if same else self._out).print(text)

    def document(self, value: dict[str, Any]) -> None:
        """Print the one JSON document, with what failed."""
        value = typed_members(msgspec.to_builtins({**value, "errors": self._failures}))
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        self._out.file.write(text + "\n")

    def line(self, event: str, **values: Any) -> None:
        """Print one JSON object on a line of its own, if that is wanted."""
        if self.as_lines:
            self._out.file.write(msgspec.json.encode({"event": event, **values}).decode() + "\n")
            self._out.file.flush()

    def failure(self, mirror: str, error: DynamirrorError) -> None:
        """Tell that a mirror's work failed."""
        hint = typed(error.hint.replace("NAME", mirror.partition("/")[0]))
        told = {"mirror": mirror, "error": str(error), "hint": hint}
        self._failures.append(told)
        self.line("error", **told)
        self.aside(f"error: mirror {mirror}: {error}")
        if hint:
            self.aside(f"hint: {hint}")

    def progress(self, doing: str) -> Progressing:
        """Return a display of how far items have come; ``doing`` is the command's verb."""
        if self.as_json:
            return _JsonProgress(self, doing)
        return _Bars(self._err, doing) if self.live_terminal else _Lines(self, doing)

    @contextmanager
    def live(self, header: Sequence[str]) -> Iterator[Live]:
        """Show rows that are replaced by newer ones; a terminal only."""
        with RichLive(console=self._err, auto_refresh=False, transient=False) as shown:
            yield Live(shown, header)


class Live:
    """A table that is drawn anew in its place."""

    def __init__(self, shown: RichLive, header: Sequence[str]) -> None:
        self._shown = shown
        self._header = header

    def show(self, rows: Sequence[Sequence[str]], notes: Sequence[tuple[str, str]] = ()) -> None:
        """Draw these rows, and below them notes, each with its style."""
        table = Table(box=None, pad_edge=False)
        for number, name in enumerate(self._header):
            # Names to the left, figures to the right.
            table.add_column(name, justify="left" if number < 2 else "right")  # noqa: PLR2004
        for row in rows:
            table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
        told = [Text(typed(text), STYLES.get(style, style)) for text, style in notes]
        self._shown.update(Group(table, *told), refresh=True)


class Progressing(Protocol):
    """A display of how far items have come, one line per mirror."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def update(
        self, mirror: str, done: int, expected: int, *, before: int = 0, size: int = 0
    ) -> None:
        """Note how many of about how many items are done; ``expected`` 0: unknown.

        ``before``: those of them that were done when this began; ``size``: their bytes.
        """
        ...


class _Bars:
    """Bars on a terminal."""

    def __init__(self, console: Console, doing: str) -> None:
        self._doing = doing
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._rate = _Rate()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(
        self, mirror: str, done: int, expected: int, *, before: int = 0, size: int = 0
    ) -> None:
        if mirror not in self._tasks:
            label = f"{self._doing} {mirror}"
            self._tasks[mirror] = self._progress.add_task(label, total=None, told="")
        # The service counts items every six hours only: never show more than all.
        total = max(expected, done) if expected else None
        much = f", {sized(size)}" if size else ""
        told = f"{done:,} items{much}, {self._rate.of(done - before):,.0f}/s"
        self._progress.update(self._tasks[mirror], completed=done, total=total, told=told)


class _Lines:
    """A line every few seconds."""

    def __init__(self, output: Output, doing: str) -> None:
        self._output = output
        self._doing = doing
        self._rate = _Rate()
        self._told: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(
        self, mirror: str, done: int, expected: int, *, before: int = 0, size: int = 0
    ) -> None:
        now = time.monotonic()
        if now - self._told.setdefault(mirror, now) >= PLAIN_S:
            self._told[mirror] = now
            self._tell(mirror, done, expected, self._rate.of(done - before), size)

    def _tell(self, mirror: str, done: int, expected: int, rate: float, size: int) -> None:
        of = f" of about {expected:,}" if expected > done else ""
        left = f", about {(expected - done) / rate:,.0f} s left" if of and rate else ""
        much = f", {sized(size)}" if size else ""
        self._output.aside(f"{self._doing} {mirror}: {done:,}{of} items{much}, {rate:,.0f}/s{left}")


class _JsonProgress(_Lines):
    """A JSON line every few seconds."""

    def _tell(self, mirror: str, done: int, expected: int, rate: float, size: int) -> None:
        self._output.line(
            "progress",
            mirror=mirror,
            items=done,
            expected_items=expected,
            per_second=round(rate, 1),
            **({"bytes": size} if size else {}),
        )


class _Rate:
    """Items per second since the display began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def of(self, done: int) -> float:
        return done / max(0.001, time.monotonic() - self._began)


def _console(*, stderr: bool) -> Console:
    """Return a console that prints what it is given, without wrapping or guessing at markup."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

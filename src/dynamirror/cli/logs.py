"""Log lines: for people, or as JSON, an object a line.

A line is one fact. What it is about (mirror, link, shard, target) stands in members of its own; an
image of an item never stands anywhere in it, and a key only where that was asked for.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from dynamirror.cli.output import Output

ABOUT = ("mirror", "link", "shard", "target", "key")
"""Members that tell what a line is about, where it is about one."""

FORMATS = ("human", "json")


class LogHandler(logging.Handler):
    """Log lines for people on stderr; as JSON there too, or, with --json, among the results."""

    def __init__(self, output: Output, *, as_json: bool = False) -> None:
        super().__init__()
        self._output = output
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        at = datetime.fromtimestamp(record.created, UTC)
        level, text = record.levelname.lower(), self.format(record)
        if not (self._output.as_lines or self._as_json):
            self._output.aside(f"{at:%H:%M:%S} {level:<7} {text}")
            return
        about = {name: getattr(record, name) for name in ABOUT if hasattr(record, name)}
        told = {"at": at.isoformat(timespec="milliseconds"), "level": level, **about, "text": text}
        if self._output.as_lines:
            self._output.line("log", **told)
        else:
            fact = getattr(record, "fact", "log")
            self._output.aside(msgspec.json.encode({"event": fact, **told}).decode())

"""What one process works at a mirror with, whatever it does there."""

from __future__ import annotations

import msgspec

from dynamirror.engine.retry import Backoff
from dynamirror.engine.stream.checkpoints import Checkpoints
from dynamirror.engine.stream.lease import Lease
from dynamirror.engine.writing.links import Links
from dynamirror.ports import Clock, DynamoDB


class Station(msgspec.Struct, frozen=True):
    """One mirror's link, from a process that reads it, copies, redrives or repairs."""

    links: Links
    """The writing side."""
    source: DynamoDB
    checkpoints: Checkpoints
    lease: Lease
    """Of this process, which need not have it."""
    clock: Clock
    backoff: Backoff

"""A key's line keeps its order, however long it is and whatever joins it when."""

from __future__ import annotations

from tests.engine.world import change

from dynamirror.engine.writing.underway import Batch, Lines, Write


def test_what_joins_a_line_is_served_after_all_that_stood_in_it() -> None:
    lines, done, served = Lines(), list[int](), list[int]()

    def admit(number: int) -> None:
        batch = Batch(lambda: done.append(number))
        batch.expect(1)
        lines.admit([change("a", number)], batch, lambda _first, _second: None)

    def serve() -> Write:
        (write,) = lines.take(25, ())
        served.append(write.record.sequence_number)
        return write

    for number in range(1, 5):
        admit(number)
    for number in range(5, 20):
        write = serve()
        admit(number)
        lines.settle([write])
    while lines.heads:
        lines.settle([serve()])

    assert served == done == list(range(1, 20))

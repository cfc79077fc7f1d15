"""PynamoDB models whose every save raises the item's version.

    python examples/pynamodb_versioned.py TABLE

The table has the key ``id`` (S); PynamoDB finds region, credentials and endpoint as ever. PynamoDB
makes its own requests, so there is no client to wrap; ``Versioned`` does the same in its own words.
PynamoDB's ``VersionAttribute`` counts from 1 under a lock: that is mirrored too, but a session that
was deleted and made again starts at 1 and can lose to an older save still on its way.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import DoesNotExist, PutError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model

TRIES = 10
FAILED = "ConditionalCheckFailedException"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Versioned(Model):
    """A model of which each save() and update() raises the version."""

    version = NumberAttribute(null=True)

    def save(self, condition: Condition | None = None, **options: Any) -> dict[str, Any]:
        """Put the item, above the version that is there and under the caller's condition."""
        known = int(self.version or 0)
        floor = known
        for _ in range(TRIES):
            self.version = max(now_ms(), floor + 1)
            lower = type(self).version.does_not_exist() | (type(self).version < self.version)
            try:
                return super().save(lower if condition is None else lower & condition, **options)
            except PutError as error:
                floor = self._held_version()
                if error.cause_response_code != FAILED or floor < self.version:
                    self.version = known or None
                    raise  # no matter of versions: the caller's condition, or another error
        self.version = known or None
        raise TimeoutError(f"{self} was saved by others {TRIES} times meanwhile")

    def update(
        self, actions: list[Action], condition: Condition | None = None, **options: Any
    ) -> Any:
        """Update the item, one version up; the model then has what the item has."""
        version = type(self).version
        raised = version.set((version | now_ms()) + 1)  # | is if_not_exists
        return super().update([*actions, raised], condition, **options)

    def _held_version(self) -> int:
        """Return the version of the item that is there, 0 if it has none."""
        named = self.get_attributes().items()
        hash_key = next(getattr(self, name) for name, one in named if one.is_hash_key)
        range_key = next((getattr(self, name) for name, one in named if one.is_range_key), None)
        try:
            found = type(self).get(hash_key, range_key, consistent_read=True)
        except DoesNotExist:
            return 0
        return int(found.version or 0)


def model_of(table: str) -> Any:
    """Return a model of sessions in a table of this name."""

    class Session(Versioned):
        class Meta:
            table_name = table

        id = UnicodeAttribute(hash_key=True)
        user = UnicodeAttribute(null=True)

    return Session


def main() -> None:
    session = model_of(sys.argv[1])
    ana = session("s1", user="ana")
    ana.save()
    made = ana.version
    ana.update([session.user.set("ben")])
    renamed = ana.version
    session("s1", user="cleo").save(session.user == "ben")  # knows no version, and is above it
    replaced = session.get("s1").version
    print(f"made {made}, then +{renamed - made}, +{replaced - renamed}")
    ana.delete()  # the mirror counts a delete as one version more


if __name__ == "__main__":
    main()

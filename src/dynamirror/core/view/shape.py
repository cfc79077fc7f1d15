"""What of an item: attributes kept, left out, masked, renamed and set, in this order.

Names are those of top-level attributes. Key attributes are kept whatever ``include`` says, for an
item without them can't be written; they may be renamed, not left out, masked or set.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum

import msgspec

from dynamirror.core.values import Wire, canonical, encode
from dynamirror.errors import UnfitError

HIDDEN = "***"
"""What stands for text that is redacted."""


class Hiding(StrEnum):
    """How an attribute's value is masked."""

    HASH = "hash"
    """Its keyed hash: equal values stay equal, nobody without the secret can try values out."""
    REDACT = "redact"
    """A fixed value of its type."""
    TRUNCATE = "truncate"
    """The beginning of a text or binary; other types are redacted."""


class Mask(msgspec.Struct, frozen=True):
    """How one attribute is masked; ``length``: characters or bytes that truncation leaves."""

    hiding: Hiding
    length: int = 0

    def hide(self, value: Wire, secret: bytes) -> Wire:
        """Return what stands for a typed value."""
        match self.hiding:
            case Hiding.HASH:
                return {"S": hashed(value, secret)}
            case Hiding.TRUNCATE if "S" in value:
                return {"S": value["S"][: self.length]}
            case Hiding.TRUNCATE if "B" in value:
                return {"B": b64encode(b64decode(value["B"])[: self.length]).decode()}
            case _:
                return redacted(value)


class Shape(msgspec.Struct, frozen=True):
    """What becomes of an item's attributes."""

    include: frozenset[str] | None = None
    """Only these; None: all."""
    exclude: frozenset[str] = frozenset()
    mask: Mapping[str, Mask] = {}
    rename: Mapping[str, str] = {}
    set: Mapping[str, Wire] = {}
    secret_env: str | None = None
    """The environment variable that holds the secret of hashes."""

    def of(self, item: Wire, key_names: Collection[str], secret: bytes) -> Wire:
        """Return a parsed image as the target sees it; the one given is left as it is.

        Raises UnfitError where a renamed attribute would overwrite another one.
        """
        kept = [name for name in item if name in key_names or self._keeps(name)]
        shown = {
            self.rename.get(name, name): self._masked(name, item[name], secret) for name in kept
        }
        if len(shown) < len(kept):
            raise UnfitError(
                "the item has an attribute already that is called as another one is renamed to: "
                "exclude one of them"
            )
        return {**shown, **self.set}

    def called(self, name: str) -> str | None:
        """Return what an attribute is called as the target sees it; None: it doesn't, or not as it
        was.
        """
        if name in self.set:
            return name
        return self.rename.get(name, name) if self._keeps(name) and name not in self.mask else None

    @property
    def hashes(self) -> bool:
        """Whether it needs a secret."""
        return any(mask.hiding is Hiding.HASH for mask in self.mask.values())

    def faults(self, key_names: Collection[str]) -> Iterator[str]:
        """Yield why it can't be applied to a table with these key attributes."""
        touched = {"exclude": self.exclude, "mask": self.mask, "set": self.set}
        for name in sorted(key_names):
            for what, names in touched.items():
                if name in names:
                    yield (
                        f"{what} names the key attribute {name!r}: two items might become one, and "
                        "none could be traced back to its source; keep keys, or rename them"
                    )
        renamed = {self.rename.get(name, name) for name in key_names}
        for name in sorted(renamed & self.set.keys()):
            yield f"set overwrites {name!r}, which is a key attribute by its new name"

    def _keeps(self, name: str) -> bool:
        included = self.include is None or name in self.include
        return included and name not in self.exclude

    def _masked(self, name: str, value: Wire, secret: bytes) -> Wire:
        mask = self.mask.get(name)
        return value if mask is None else mask.hide(value, secret)


def hashed(value: Wire, secret: bytes) -> str:
    """Return the HMAC-SHA256 of a typed value in hex: the same for every spelling of it."""
    return hmac.new(secret, encode(_ordered(canonical(value))), hashlib.sha256).hexdigest()


def redacted(value: Wire) -> Wire:
    """Return a value of the same type that tells nothing: an index may demand the type."""
    ((kind, _),) = value.items()
    hidden_bytes = b64encode(HIDDEN.encode()).decode()
    told: Wire = {
        "S": HIDDEN,
        "N": "0",
        "B": hidden_bytes,
        "BOOL": False,
        "NULL": True,
        "SS": [HIDDEN],
        "NS": ["0"],
        "BS": [hidden_bytes],
        "L": [],
        "M": {},
    }
    return {kind: told[kind]}


def _ordered(value: object) -> object:
    """Return a canonical value with sets in one order, so that its text is one too."""
    if isinstance(value, frozenset):
        return sorted((_ordered(each) for each in value), key=encode)
    if isinstance(value, tuple):
        return [_ordered(each) for each in value]
    return value

"""A mirror of the configuration file as TOML text again, for its function's environment.

Written from what the file says rather than from the model, so that a key needs no second spelling
here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def spelled(name: str, mirror: Mapping[str, Any]) -> str:
    """Return the TOML text that declares one mirror."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in mirror.items()]
    return "\n".join([f"[mirrors.{_key(name)}]", *lines, ""])


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case Mapping():
            members = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
            return f"{{ {members} }}"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but that TOML wants DEL escaped too.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

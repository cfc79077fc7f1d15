"""What everything of ours is called on AWS: the same for the same configuration, each once.

A name that would be too long keeps its beginning, and a digest of the whole makes it its own.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath

from dynamirror.config.model import Mirror
from dynamirror.config.problems import bare
from dynamirror.errors import ConfigError

PREFIX = "dynamirror"

FUNCTION_CHARACTERS_MAX = 64  # Lambda API, 'CreateFunction'
ROLE_CHARACTERS_MAX = 64  # IAM API, 'CreateRole'
STACK_CHARACTERS_MAX = 128  # CloudFormation API, 'CreateStack'

_DIGEST_CHARACTERS = 8


def stack_name(path: str, given: str | None) -> str:
    """Return the stacks' name: the one given, or one made from the configuration file's name.

    Raises ConfigError where CloudFormation would not take it.
    """
    name = given or f"{PREFIX}-" + re.sub(r"[^A-Za-z0-9]+", "-", PurePath(path).stem).strip("-")
    if len(name) > STACK_CHARACTERS_MAX:
        raise ConfigError(
            f"the stack's name {name!r} has {len(name)} characters, CloudFormation takes"
            f" {STACK_CHARACTERS_MAX}: give a shorter one with --stack-name"
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise ConfigError(
            f"{name!r} can't be a stack's name: give one of letters, digits and '-' that begins"
            " with a letter, with --stack-name"
        )
    return name


def function_name(mirror: Mirror) -> str:
    """Return what the function of a mirror's consumer is called, in its region."""
    words = [PREFIX, *_words(mirror)]
    return _short("-".join(words).replace(".", "-"), FUNCTION_CHARACTERS_MAX, mirror.link)


def share_name(mirror: Mirror) -> str:
    """Return what the function and the state machine are called that do a mirror's shares."""
    words = [PREFIX, *_words(mirror), "shares"]
    return _short("-".join(words).replace(".", "-"), FUNCTION_CHARACTERS_MAX, mirror.link)


def role_name(mirror: Mirror) -> str:
    """Return what that function's role is called: a role's name is its account's, in no region."""
    region = mirror.source.region
    words = _words(mirror)
    words += [] if words[-1] == region else [region]
    name = "-".join((PREFIX, *words))
    return _short(name, ROLE_CHARACTERS_MAX, f"{mirror.link}@{region}")


def logical(*parts: str) -> str:
    """Return a logical id: the words of the parts, each with a capital letter."""
    words = re.findall(r"[A-Za-z0-9]+", " ".join(parts))
    return "".join(word[0].upper() + word[1:] for word in words)


def consumer_id(mirror: Mirror) -> str:
    """Return the beginning of the logical ids of a consumer."""
    return logical(*_words(mirror))


def secret_id(variable: str) -> str:
    """Return the parameter that holds a secret of the environment."""
    return f"Secret{logical(variable)}"


def table_id(table: str) -> str:
    """Return the logical id of a table of ours, given its name or ARN."""
    return logical(bare(table), "Table")


def _words(mirror: Mirror) -> list[str]:
    return re.split("/", mirror.title)


def _short(name: str, characters_max: int, identity: str) -> str:
    if len(name) <= characters_max:
        return name
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{name[: characters_max - 1 - len(digest)]}-{digest}"

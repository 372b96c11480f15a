"""Where actions go: the `[[actions]]` sections of platform.toml.

```toml
[[actions]]
kind = "webhook"
url = "https://forum.example/hooks/unspread"

[[actions]]
kind = "command"
argv = ["/usr/local/bin/take-down"]
on = ["remove"]

[[actions]]
kind = "move"
store = "s3://uploads"
quarantine = "s3://uploads-quarantine"

[[actions]]
kind = "queue"
url = "https://sqs.eu-west-1.amazonaws.com/123456789012/unspread"
```
"""

from collections.abc import Sequence

import msgspec

from unspread.errors import InputError
from unspread.platform_kit.store import ActionKind

ON_CONTENT = (ActionKind.REMOVE, ActionKind.HOLD, ActionKind.RELEASE)


class Destination(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """What every destination has."""

    name: str = ""
    """Tells two destinations of one kind apart, for ever: change it and open actions go again."""
    on: tuple[ActionKind, ...] = ON_CONTENT
    """Which actions it gets. `tell` carries what people wrote, so it is never got by default."""
    timeout_seconds: float = 15.0
    """How long one attempt may take."""


class Webhook(Destination, frozen=True, tag="webhook"):
    """A signed POST to a program of the platform's. 2xx is done; anything else is tried again."""

    url: str
    secret_file: str = "keys/webhook.secret"  # noqa: S105 - a file's name
    """Under the data directory: `whsec_…` (shared) or `whsk_…` (Ed25519), one a line, all sign.
    A shared secret is made at the first start if there is none."""


class Command(Destination, frozen=True, tag="command"):
    """A program, given the action as JSON on its standard input. Exit status 0 is done, 100 never
    will be, anything else is tried again."""

    argv: tuple[str, ...]


class Move(Destination, frozen=True, tag="move"):
    """`remove` and `hold` move an object out of public reach, `release` moves it back."""

    store: str
    """Directory, or URL of a bucket with an optional prefix: `s3://…`, `gs://…`, `az://…`."""
    quarantine: str
    """The same, for where it goes."""
    key: str = "{reference}"
    """The object's key for a reference."""
    options: dict[str, str] = {}
    """For obstore: `endpoint`, `region`, `access_key_id` …; by default the usual environment."""

    def __post_init__(self) -> None:
        if ActionKind.TELL in self.on:
            raise ValueError("a move tells nobody: give `tell` to a command, a webhook or a queue")


class Queue(Destination, frozen=True, tag="queue"):
    """A message to an Amazon SQS queue, or anything that speaks its protocol."""

    url: str
    """The queue's URL; a `.fifo` queue gets the reference as message group, so order holds."""
    region: str | None = None
    endpoint: str | None = None
    """Of a stand-in for AWS."""


AnyDestination = Webhook | Command | Move | Queue


def named(destinations: Sequence[AnyDestination]) -> tuple[AnyDestination, ...]:
    """The same, each with a name that no other has.

    Raises:
        InputError: if two share one.
    """
    seen: dict[str, AnyDestination] = {}
    for each in destinations:
        name = each.name or type(each).__name__.lower()
        if name in seen:
            raise InputError(f"two actions are named {name}: give each its own name")
        seen[name] = msgspec.structs.replace(each, name=name)
    return tuple(seen.values())

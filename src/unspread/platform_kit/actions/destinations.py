"""From the settings' destinations to what delivers to them."""

import os
from collections.abc import Sequence
from pathlib import Path

import httpx

from unspread.errors import InputError
from unspread.platform_kit.actions.command import CommandDelivery
from unspread.platform_kit.actions.delivery import Deliver
from unspread.platform_kit.actions.queue import QueueDelivery, sqs_client
from unspread.platform_kit.actions.settings import (
    AnyDestination,
    Command,
    Move,
    Queue,
    Webhook,
    named,
)
from unspread.platform_kit.actions.signature import (
    PrivateKey,
    SharedSecret,
    key_from_text,
)
from unspread.platform_kit.actions.webhook import WebhookDelivery
from unspread.platform_kit.actions.worker import Route
from unspread.platform_kit.store import ActionKind


def routes(
    destinations: Sequence[AnyDestination], data: Path, client: httpx.AsyncClient
) -> tuple[Route, ...]:
    """What the worker delivers to, each ready to use.

    Raises:
        InputError: if a setting cannot be used, or nothing at all would carry out a `remove`.
    """
    made = tuple(
        Route(each.name, frozenset(each.on), _deliver(each, data, client))
        for each in named(destinations)
    )
    if made and not any(ActionKind.REMOVE in route.on for route in made):
        raise InputError("no action is told of `remove`: what is found would stay up")
    return made


def _deliver(destination: AnyDestination, data: Path, client: httpx.AsyncClient) -> Deliver:
    match destination:
        case Webhook():
            check_url(destination.url)
            keys = read_keys(make_secret(data / destination.secret_file))
            return WebhookDelivery(client, destination.url, keys, destination.timeout_seconds)
        case Command():
            return CommandDelivery(destination.argv, destination.timeout_seconds)
        case Move():
            from unspread.platform_kit.actions.move import MoveDelivery, open_store

            return MoveDelivery(
                open_store(destination.store, destination.options),
                open_store(destination.quarantine, destination.options),
                destination.key,
            )
        case Queue():
            return QueueDelivery(
                sqs_client(destination.region, destination.endpoint), destination.url
            )


def check_url(text: str) -> None:
    """Return if webhooks can be sent there.

    Raises:
        InputError: if it is no http or https address.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise InputError("a webhook's url cannot be read") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise InputError("a webhook's url starts with http:// or https://")


def make_secret(path: Path) -> Path:
    """A fresh shared secret in a file that only its owner can read, unless there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(handle, "w") as file:
        file.write(SharedSecret(os.urandom(32)).to_text() + "\n")
    return path


def read_keys(path: Path) -> tuple[SharedSecret | PrivateKey, ...]:
    """Every key in a secret's file, one a line; the first is the one to keep.

    Raises:
        InputError: if there is none, or a line is not a key.
    """
    try:
        lines = path.read_text().split()
    except OSError:
        raise InputError(f"the webhook's secret cannot be read: {path}") from None
    if not lines:
        raise InputError(f"the webhook's secret is empty: {path}")
    return tuple(key_from_text(line) for line in lines)

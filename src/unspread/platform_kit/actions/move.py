"""Actions on a bucket or directory: out of public reach, and back."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from unspread.errors import InputError
from unspread.platform_kit.actions.delivery import TryAgainError, UndeliverableError
from unspread.platform_kit.store import Action, ActionKind

_OF_THE_CONNECTION: Final = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "http1_only",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "timeout",
        "user_agent",
    }
)
"""Options that obstore takes apart from a bucket's own, and panics over if it does not get
them so (object_store's `ClientConfigKey`)."""

_NO_SUCH: Final = (NotFoundError, FileNotFoundError)


class MoveDelivery:
    """`remove` and `hold` move an object to the quarantine, `release` moves it back.

    Copies before it deletes, so that a crash between the two leaves two objects and not none; the
    next attempt finishes.
    """

    def __init__(self, store: ObjectStore, quarantine: ObjectStore, key: str) -> None:
        """`key`: the object's key, with `{reference}` in it."""
        self._store = store
        self._quarantine = quarantine
        self._key = key

    async def __call__(self, action: Action, now: datetime) -> None:
        """Deliver once."""
        key = self._key.replace("{reference}", action.reference)
        back = action.action is ActionKind.RELEASE
        source, target = (
            (self._quarantine, self._store) if back else (self._store, self._quarantine)
        )
        try:
            try:
                found = await obstore.get_async(source, key)
            except _NO_SUCH:
                if back and not await _exists(target, key):
                    raise UndeliverableError("the object is in neither place") from None
                return  # moved before, or deleted by who posted it: nothing to take away
            await obstore.put_async(target, key, found.stream())
            await obstore.delete_async(source, key)
        except ValueError:
            raise UndeliverableError("the reference cannot be an object's key") from None
        except (BaseError, OSError) as error:
            raise TryAgainError(f"the object store failed ({type(error).__name__})") from None


async def _exists(store: ObjectStore, key: str) -> bool:
    try:
        await obstore.head_async(store, key)
    except _NO_SUCH:
        return False
    return True


def open_store(place: str, options: Mapping[str, Any]) -> ObjectStore:
    """The store at a URL or in a directory, which is made if it is missing.

    Raises:
        InputError: if it is neither.
    """
    if "://" not in place:
        return LocalStore(Path(place), mkdir=True)
    connection = {name: value for name, value in options.items() if name in _OF_THE_CONNECTION}
    bucket = {name: value for name, value in options.items() if name not in _OF_THE_CONNECTION}
    try:
        return from_url(place, client_options=connection or None, **bucket)  # type: ignore[arg-type]
    except (BaseError, ValueError) as error:
        raise InputError(f"not an object store that can be opened: {error}") from None

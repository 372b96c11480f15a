"""A Synapse module: every file of a Matrix server is scanned before it is kept.

Runs inside Synapse, so it needs nothing but Python and Synapse:
`pip install --no-deps unspread` into Synapse's environment, then in homeserver.yaml

```yaml
modules:
  - module: unspread.platform_kit.hooks.synapse.Unspread
    config:
      url: http://127.0.0.1:8080
      key_file: /etc/matrix-synapse/unspread.key
      when_unavailable: refuse
```

Source: https://element-hq.github.io/synapse/latest/modules/spam_checker_callbacks.html,
`check_media_file_for_spam`: called for local and remote files, before they reach storage
providers. Files of encrypted rooms are noise to it and match nothing.
"""

import logging
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from unspread.errors import InputError

DEFAULT_MAX_BYTES: Final = 100 * 1024 * 1024
_KNOWN: Final = frozenset({"url", "key_file", "when_unavailable", "max_bytes"})

_log = logging.getLogger(__name__)


class Outcome(Enum):
    """What the kit's answer means for a file."""

    KEEP = "keep"
    REFUSE = "refuse"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class SynapseSettings:
    """The module's `config`."""

    url: str
    """The kit's address."""
    key: str = field(repr=False)
    """A key of the kit's with the scope `scan`."""
    fail_open: bool = False
    """Whether files that could not be checked are kept."""
    max_bytes: int = DEFAULT_MAX_BYTES
    """Larger files count as not checked."""


def outcome(status: int) -> Outcome:
    """What an HTTP status of `/scan` means: 2xx keep; 406, 409 and 422 are decisions."""
    if 200 <= status < 300:
        return Outcome.KEEP
    return Outcome.REFUSE if status in {406, 409, 422} else Outcome.NOT_CHECKED


def settings_of(config: dict[str, Any]) -> SynapseSettings:
    """The settings in homeserver.yaml.

    Raises:
        InputError: naming what is missing, unknown or wrong.
    """
    unknown = set(config) - _KNOWN
    if unknown:
        raise InputError(f"unspread: unknown in config: {', '.join(sorted(map(str, unknown)))}")
    url, key_file = config.get("url"), config.get("key_file")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise InputError("unspread: config needs `url`, the kit's address")
    if not isinstance(key_file, str):
        raise InputError("unspread: config needs `key_file`, a file with a key of the kit")
    when = config.get("when_unavailable", "refuse")
    if when not in {"refuse", "accept"}:
        raise InputError("unspread: when_unavailable is refuse or accept")
    max_bytes = config.get("max_bytes", DEFAULT_MAX_BYTES)
    if not isinstance(max_bytes, int) or max_bytes < 1:
        raise InputError("unspread: max_bytes is a number above 0")
    try:
        key = Path(key_file).read_text().strip()
    except OSError as error:
        raise InputError(f"unspread: key_file cannot be read: {error.strerror}") from None
    return SynapseSettings(url.rstrip("/"), key, when == "accept", max_bytes)


class _File(Protocol):
    async def write_chunks_to(self, callback: Any) -> None: ...


class Unspread:
    """The module that Synapse loads."""

    def __init__(self, config: SynapseSettings, api: Any) -> None:
        """`api`: Synapse's `ModuleApi`."""
        self._settings = config
        self._api = api
        api.register_spam_checker_callbacks(check_media_file_for_spam=self.check_media)

    @staticmethod
    def parse_config(config: dict[str, Any]) -> SynapseSettings:
        """Called by Synapse before the module is made."""
        return settings_of(config)

    async def check_media(self, file_wrapper: _File, file_info: Any) -> Any:
        """`NOT_SPAM` to keep a file; anything else has Synapse delete and refuse it."""
        from synapse.module_api import NOT_SPAM
        from synapse.module_api.errors import Codes

        if file_info.thumbnail is not None:
            # Made by Synapse from a file that was scanned.
            return NOT_SPAM
        found = await self._scan(file_wrapper, file_info)
        if found is Outcome.NOT_CHECKED:
            _log.error("a file was not checked: the platform kit did not answer")
            found = Outcome.KEEP if self._settings.fail_open else Outcome.REFUSE
        return NOT_SPAM if found is Outcome.KEEP else Codes.FORBIDDEN

    async def _scan(self, file_wrapper: _File, file_info: Any) -> Outcome:
        from synapse.http import RequestTimedOutError
        from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
        from twisted.web.client import ResponseFailed, ResponseNeverReceived
        from twisted.web.http_headers import Headers

        parts: list[bytes] = []
        size = 0

        def take(part: bytes) -> None:
            nonlocal size
            size += len(part)
            if size <= self._settings.max_bytes:
                parts.append(part)

        await file_wrapper.write_chunks_to(take)
        if size > self._settings.max_bytes:
            return Outcome.NOT_CHECKED
        server = file_info.server_name or self._api.server_name
        reference = quote(f"mxc://{server}/{file_info.file_id}", safe="")
        headers = Headers({b"Authorization": [f"Bearer {self._settings.key}".encode()]})
        try:
            response = await self._api.http_client.request(
                "POST",
                f"{self._settings.url}/scan?reference={reference}",
                data=b"".join(parts),
                headers=headers,
            )
        except (
            RequestTimedOutError,
            ConnectError,
            ConnectionClosed,
            DNSLookupError,
            ResponseFailed,
            ResponseNeverReceived,
        ) as error:
            _log.warning("the platform kit cannot be reached (%s)", type(error).__name__)
            return Outcome.NOT_CHECKED
        return outcome(response.code)

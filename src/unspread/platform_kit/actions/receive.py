"""The other end of a webhook: for platforms written in Python, and for the demo's board."""

from collections.abc import Mapping

import msgspec

from unspread.platform_kit.actions.signature import (
    PublicKey,
    SharedSecret,
    WebhookCheck,
    WebhookSignatureError,
    verify,
)


def received(body: bytes, headers: Mapping[str, str], key_text: str, now: int) -> dict[str, object]:
    """What a webhook says, if it is signed with the key.

    Args:
        body: exactly as received.
        headers: names in lower case.
        key_text: `whsec_…`, or `whpk_…` for a sender that signs with Ed25519; one a line.
        now: whole seconds since 1970, UTC.

    Raises:
        WebhookSignatureError: if it is not.
        InputError: if `key_text` is no key.
    """
    checks: list[WebhookCheck] = [
        PublicKey.from_text(line) if line.startswith("whpk_") else SharedSecret.from_text(line)
        for line in key_text.split()
    ]
    verify(headers, body, checks, now)
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise WebhookSignatureError("signed, but not an action") from None

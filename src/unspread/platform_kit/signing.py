"""Requests to a clearinghouse, signed as RFC 9421 HTTP message signatures with our Ed25519 key."""

from datetime import datetime
from typing import Any, Final

import httpx
from http_message_signatures import HTTPMessageSigner, algorithms

from unspread.crypto import SigningKey

COVERED: Final = ("@method", "@target-uri", "content-digest")
"""docs/protocol/case.md, "Feedback, from a platform"."""


def sign(
    request: httpx.Request, key: SigningKey, *, key_id: str, created: datetime, nonce: str
) -> None:
    """Add Content-Digest, Signature-Input and Signature to a request."""
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519)
    message: Any = request
    prepared = signer.prepare(
        message,
        key_id=key_id,
        created=created,
        nonce=nonce,
        label="sig1",
        covered_component_ids=COVERED,
        body=request.content,
        use_existing_digest="content-digest" in request.headers,
    )
    signer.apply(message, prepared, key.sign(prepared.signature_base))

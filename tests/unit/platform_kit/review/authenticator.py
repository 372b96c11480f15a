"""A passkey in software, after WebAuthn Level 2, sections 6.5.1 and 7: for tests alone."""

import hashlib
import json
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn import base64url_to_bytes
from webauthn.helpers import bytes_to_base64url

USER_PRESENT, USER_VERIFIED, HAS_CREDENTIAL = 0x01, 0x04, 0x40


class Authenticator:
    """One device with one passkey."""

    def __init__(self, origin: str, *, verifies_user: bool = True) -> None:
        self.origin = origin
        self._flags = USER_PRESENT | (USER_VERIFIED if verifies_user else 0)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._credential_id = hashlib.sha256(str(id(self)).encode()).digest()

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _authenticator_data(self, site: str, flags: int) -> bytes:
        return hashlib.sha256(site.encode()).digest() + bytes([flags]) + bytes(4)

    def make(self, options: dict[str, Any]) -> dict[str, Any]:
        """`navigator.credentials.create`, as JSON."""
        numbers = self._key.public_key().public_numbers()
        public = {
            1: 2,
            3: -7,
            -1: 1,
            -2: numbers.x.to_bytes(32, "big"),
            -3: numbers.y.to_bytes(32, "big"),
        }
        data = self._authenticator_data(options["rp"]["id"], self._flags | HAS_CREDENTIAL)
        data += bytes(16) + len(self._credential_id).to_bytes(2, "big") + self._credential_id
        data += cbor2.dumps(public)
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client_data("webauthn.create", options["challenge"])
        return self._credential({"attestationObject": bytes_to_base64url(attestation)}, client)

    def use(self, options: dict[str, Any]) -> dict[str, Any]:
        """`navigator.credentials.get`, as JSON."""
        data = self._authenticator_data(options["rpId"], self._flags)
        client = self._client_data("webauthn.get", options["challenge"])
        signed = data + hashlib.sha256(client).digest()
        signature = self._key.sign(signed, ec.ECDSA(SHA256()))
        return self._credential(
            {
                "authenticatorData": bytes_to_base64url(data),
                "signature": bytes_to_base64url(signature),
            },
            client,
        )

    def _credential(self, response: dict[str, str], client: bytes) -> dict[str, Any]:
        name = bytes_to_base64url(self._credential_id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {**response, "clientDataJSON": bytes_to_base64url(client)},
        }


def challenge_of(options: dict[str, Any]) -> bytes:
    """The bytes to be signed."""
    return base64url_to_bytes(options["challenge"])

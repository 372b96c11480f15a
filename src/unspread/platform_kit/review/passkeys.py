"""WebAuthn's words for what `signin` decides. Loaded with the first passkey: it costs 6 MB."""

import json
from typing import Any

import webauthn
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

__all__ = [
    "WebAuthnException",
    "options_to_make",
    "options_to_use",
    "verified_new",
    "verified_use",
]


def options_to_make(site: str, name: str, challenge: bytes) -> dict[str, Any]:
    """`PublicKeyCredentialCreationOptions` for a reviewer's new passkey."""
    options = webauthn.generate_registration_options(
        rp_id=site,
        rp_name="Unspread review",
        user_name=name,
        challenge=challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
    )
    return _as_json(options)


def options_to_use(site: str, challenge: bytes) -> dict[str, Any]:
    """`PublicKeyCredentialRequestOptions` for any passkey of ours."""
    options = webauthn.generate_authentication_options(
        rp_id=site,
        challenge=challenge,
        allow_credentials=[],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return _as_json(options)


def verified_new(
    credential: dict[str, Any], *, challenge: bytes, site: str, origin: str
) -> VerifiedRegistration:
    """A new passkey, checked.

    Raises:
        WebAuthnException: if it does not hold.
    """
    return webauthn.verify_registration_response(
        credential=credential,
        expected_challenge=challenge,
        expected_rp_id=site,
        expected_origin=origin,
        require_user_verification=True,
    )


def verified_use(
    credential: dict[str, Any],
    *,
    challenge: bytes,
    site: str,
    origin: str,
    public_key: bytes,
    sign_count: int,
) -> VerifiedAuthentication:
    """The use of a known passkey, checked.

    Raises:
        WebAuthnException: if it does not hold.
    """
    return webauthn.verify_authentication_response(
        credential=credential,
        expected_challenge=challenge,
        expected_rp_id=site,
        expected_origin=origin,
        credential_public_key=public_key,
        credential_current_sign_count=sign_count,
        require_user_verification=True,
    )


def _as_json(options: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(webauthn.options_to_json(options))
    return made

"""WebAuthn ceremonies: no password exists anywhere."""

import json
from typing import Final

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.staff.members import Credential, Member
from unspread.errors import TrustError

_VERIFY: Final = UserVerificationRequirement.REQUIRED


class PasskeyError(TrustError):
    """The passkey's answer does not hold."""


def registration_options(settings: Settings, member: Member, challenge: bytes) -> str:
    """What the browser needs to make a passkey, as JSON."""
    return options_to_json(
        generate_registration_options(
            rp_id=settings.host,
            rp_name=settings.name,
            user_name=member.name,
            user_id=f"unspread staff {member.member_id}".encode(),
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=_VERIFY
            ),
        )
    )


def registered(settings: Settings, answer: str, challenge: bytes) -> tuple[bytes, bytes, int]:
    """Id, public key and counter of a new passkey.

    Raises:
        PasskeyError: if the answer is not to this challenge, or not from this site.
    """
    try:
        verified = verify_registration_response(
            credential=json.loads(answer),
            expected_challenge=challenge,
            expected_rp_id=settings.host,
            expected_origin=settings.url,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError, RecursionError):
        raise PasskeyError("this passkey could not be registered: try again") from None
    return verified.credential_id, verified.credential_public_key, verified.sign_count


def sign_in_options(settings: Settings, challenge: bytes) -> str:
    """What the browser needs to ask for a passkey, as JSON."""
    return options_to_json(
        generate_authentication_options(
            rp_id=settings.host, challenge=challenge, user_verification=_VERIFY
        )
    )


def credential_id_of(answer: str) -> bytes:
    """Which passkey an answer says to be from; nothing is believed yet.

    Raises:
        PasskeyError: if it says nothing.
    """
    try:
        return base64url_to_bytes(json.loads(answer)["rawId"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PasskeyError("this is not a passkey's answer") from None


def verified_sign_in(
    settings: Settings, answer: str, challenge: bytes, credential: Credential
) -> int:
    """The passkey's new counter.

    Raises:
        PasskeyError: if the signature does not hold, or the counter says that it is a copy.
    """
    try:
        verified = verify_authentication_response(
            credential=json.loads(answer),
            expected_challenge=challenge,
            expected_rp_id=settings.host,
            expected_origin=settings.url,
            credential_public_key=credential.public_key,
            credential_current_sign_count=credential.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError, RecursionError):
        raise PasskeyError("the passkey's answer does not hold: try again") from None
    return verified.new_sign_count

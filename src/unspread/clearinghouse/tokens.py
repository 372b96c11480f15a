"""Access tokens for partners: private_key_jwt in, a token bound to the asker's key out.

OAuth 2.0 client credentials (RFC 6749, section 4.4) with a JWT signed by the partner's registered
Ed25519 key (RFC 7523), and DPoP (RFC 9449): the token is of use only to the holder of the key that
asked for it. A token lives five minutes and is signed with a key in memory.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey

from unspread.case_protocol import to_b64
from unspread.clearinghouse.partners import NotSignedError, Partner

TOKEN_SECONDS: Final = 300
CLOCK_SKEW_SECONDS: Final = 60
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_OWN_ALGORITHMS: Final = ["HS256"]
_PARTNER_ALGORITHMS: Final = ["Ed25519", "EdDSA"]
_DPOP_ALGORITHMS: Final = ["Ed25519", "EdDSA", "ES256"]
_MAX_TOKEN: Final = 8192


def _claims(token: str, key: OKPKey | ECKey | OctKey, algorithms: list[str]) -> dict[str, Any]:
    try:
        return dict(jwt.decode(token, key, algorithms=algorithms).claims)
    except (JoseError, ValueError, TypeError, KeyError):
        raise NotSignedError("a token or proof does not hold") from None


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > _MAX_TOKEN:
        raise NotSignedError("a token or proof does not hold")
    try:
        header: Mapping[str, Any] = jws.extract_compact(token.encode()).protected
    except (JoseError, ValueError, TypeError, KeyError):
        raise NotSignedError("a token or proof does not hold") from None
    return header


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotSignedError(f"a token or proof has no {name}")
    return int(value)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a token allows."""

    partner_id: str
    scopes: frozenset[str]


class Tokens:
    """Issues and checks access tokens.

    Args:
        spend: whether a name was not seen before; from now on it is.
    """

    def __init__(self, clock: Callable[[], float], spend: Callable[[str], bool]) -> None:
        self._key = OctKey.import_key(os.urandom(32))
        self._clock = clock
        self._spend = spend

    def claimed_partner_id(self, assertion: str) -> str:
        """Who an assertion says to be from; nothing is believed yet."""
        if len(assertion) > _MAX_TOKEN:
            raise NotSignedError("a token or proof does not hold")
        try:
            payload = jws.extract_compact(assertion.encode()).payload
            subject = _json_object(payload).get("sub")
        except (JoseError, ValueError, TypeError, KeyError):
            raise NotSignedError("a token or proof does not hold") from None
        if not isinstance(subject, str):
            raise NotSignedError("an assertion names its partner")
        return subject

    def issue(
        self, assertion: str, known: Partner, wanted: frozenset[str], proof: str, url: str
    ) -> tuple[str, frozenset[str]]:
        """A token for a partner that proves itself at the token endpoint `url`, and its scopes.

        Raises:
            NotSignedError: if assertion or proof do not hold, or the partner is not active.
        """
        if known.state != "active":
            raise NotSignedError("this partner may not do that")
        key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": to_b64(known.signing_key)})
        claims = _claims(assertion, key, _PARTNER_ALGORITHMS)
        now = int(self._clock())
        audience = claims.get("aud")
        if (
            claims.get("iss") != known.partner_id
            or claims.get("sub") != known.partner_id
            or url not in (audience if isinstance(audience, list) else [audience])
            or not now - CLOCK_SKEW_SECONDS <= _seconds(claims, "exp") <= now + TOKEN_SECONDS
        ):
            raise NotSignedError("an assertion is from and about the partner, for here, for now")
        if not self._spend(f"assertion {known.partner_id} {claims.get('jti')}"):
            raise NotSignedError("an assertion serves once")
        thumbprint = self._proof(proof, "POST", url, "")
        scopes = wanted & known.scopes if wanted else known.scopes
        token = jwt.encode(
            {"alg": "HS256", "typ": "at+jwt"},
            {
                "sub": known.partner_id,
                "exp": now + TOKEN_SECONDS,
                "scope": " ".join(sorted(scopes)),
                "cnf": {"jkt": thumbprint},
            },
            self._key,
            algorithms=_OWN_ALGORITHMS,
        )
        return token, scopes

    def check(self, token: str, proof: str, method: str, url: str) -> Granted:
        """What a token allows the sender of this request.

        Raises:
            NotSignedError: if it is not ours, too old, or not the sender's.
        """
        claims = _claims(token, self._key, _OWN_ALGORITHMS)
        if _seconds(claims, "exp") < self._clock():
            raise NotSignedError("the token is too old: ask for a new one")
        if self._proof(proof, method, url, token) != claims["cnf"]["jkt"]:
            raise NotSignedError("the token is somebody else's")
        return Granted(claims["sub"], frozenset(claims["scope"].split()))

    def _proof(self, proof: str, method: str, url: str, token: str) -> str:
        """Thumbprint of the key that made a DPoP proof for this request (RFC 9449, section 4.3)."""
        header = _header(proof)
        jwk = header.get("jwk")
        if header.get("typ") != "dpop+jwt" or not isinstance(jwk, dict) or "d" in jwk:
            raise NotSignedError("this is not a DPoP proof")
        try:
            key = ECKey.import_key(jwk) if jwk.get("kty") == "EC" else OKPKey.import_key(jwk)
        except (JoseError, ValueError, TypeError, KeyError):
            raise NotSignedError("this is not a DPoP proof") from None
        claims = _claims(proof, key, _DPOP_ALGORITHMS)
        expected = to_b64(hashlib.sha256(token.encode()).digest()) if token else None
        if (
            claims.get("htm") != method
            or claims.get("htu") != url
            or abs(_seconds(claims, "iat") - self._clock()) > CLOCK_SKEW_SECONDS
            or (expected is not None and claims.get("ath") != expected)
        ):
            raise NotSignedError("the DPoP proof is for another request")
        thumbprint = key.thumbprint()
        if not self._spend(f"proof {thumbprint} {claims.get('jti')}"):
            raise NotSignedError("a DPoP proof serves once")
        return thumbprint


def _json_object(payload: bytes) -> dict[str, Any]:
    value = json.loads(payload)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value

"""Talks to a clearinghouse for a person: the only module of `person` that does I/O."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, TypeVar

import altcha
import httpx

from unspread.case_protocol import (
    About,
    CaseAccepted,
    CaseStatus,
    Challenge,
    ErrorAnswer,
    WithdrawalAccepted,
    decode,
    from_b64,
)
from unspread.crypto import Receipt
from unspread.errors import InputError, StateError, TransportError
from unspread.model import Age, MediaFingerprint
from unspread.person import case
from unspread.transparency.note import SignatureKind, VerifierKey

SOLVE_WITHIN_SECONDS: Final = 120.0
_Answer = TypeVar("_Answer", About, CaseAccepted, CaseStatus, Challenge, WithdrawalAccepted)


class UnknownCaseError(StateError):
    """No case with this receipt, or nothing of it that could be withdrawn."""


class Clearinghouse:
    """One clearinghouse, at its address. Use as a context manager.

    Methods raise `InputError` for what the clearinghouse refuses, `StateError` for what is not
    possible now and `TransportError` when it does not answer.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 30.0) -> None:
        address = httpx.URL(url)
        if address.scheme not in {"http", "https"} or not address.host:
            raise InputError("give the address of a clearinghouse, such as https://example.org")
        # No redirects and no environment: nothing but this address learns of the case.
        self._http = httpx.Client(base_url=address, timeout=timeout_seconds, trust_env=False)

    def __enter__(self) -> "Clearinghouse":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def about(self) -> About:
        """Its name, its log and its limits."""
        return self._call("GET", "/v1/about", About)

    def submit(self, receipt: Receipt, media: Sequence[MediaFingerprint], age: Age) -> CaseAccepted:
        """Send the fingerprints; durable when this returns. Solves the proof of work first."""
        proof = self._proof_of_work()
        message = case.submission(receipt, media, age, proof)
        return self._call("POST", "/v1/cases", CaseAccepted, message.to_json())

    def status(self, receipt: Receipt) -> CaseStatus:
        """What became of each item, by platform."""
        return self._signed_call(receipt, "status")

    def renew(self, receipt: Receipt) -> CaseStatus:
        """Extend the case to its full term from today."""
        return self._signed_call(receipt, "renew")

    def withdraw(self, receipt: Receipt, item_numbers: Sequence[int]) -> WithdrawalAccepted:
        """Unlist items, 0-based as submitted. Sending it again changes nothing."""
        message = case.withdrawal_request(receipt, item_numbers, self.about().log_origin)
        return self._call("POST", "/v1/cases/withdraw", WithdrawalAccepted, message.to_json())

    def announced_key(self) -> VerifierKey:
        """The key that the clearinghouse itself says is its log's."""
        about = self.about()
        try:
            return VerifierKey(
                about.log_origin, SignatureKind.ED25519, from_b64(about.log_key, 32, "log_key")
            )
        except InputError as error:
            raise TransportError("the answer is not that of a clearinghouse") from error

    def entry_proof(self, listing_id: int) -> bytes:
        """The `.tlog-proof` of a listing's entry, not verified."""
        return self._answer("GET", f"/v1/proof/{listing_id}", None).content

    def _signed_call(self, receipt: Receipt, purpose: str) -> CaseStatus:
        origin = self.about().log_origin
        challenge = self._call("GET", "/v1/challenge", Challenge).challenge
        message = case.case_request(receipt, purpose, origin, challenge)
        return self._call("POST", f"/v1/cases/{purpose}", CaseStatus, message.to_json())

    def _proof_of_work(self) -> str:
        answer = self._answer("GET", "/v1/proof-of-work", None)
        try:
            challenge = altcha.Challenge.from_dict(answer.json())
        except (ValueError, KeyError, TypeError):
            raise TransportError("the proof of work asked for makes no sense") from None
        solution = altcha.solve_challenge(challenge, timeout=SOLVE_WITHIN_SECONDS)
        if solution is None:
            raise StateError("the proof of work took too long: try again later")
        return altcha.Payload(challenge, solution).to_base64()

    def _call(
        self, method: str, path: str, answer: type[_Answer], body: bytes | None = None
    ) -> _Answer:
        try:
            return decode(self._answer(method, path, body).content, answer)
        except InputError as error:
            if isinstance(error, _RefusedError):
                raise
            raise TransportError("the answer is not that of a clearinghouse") from error

    def _answer(self, method: str, path: str, body: bytes | None) -> httpx.Response:
        headers = {"content-type": "application/json"} if body is not None else {}
        try:
            response = self._http.request(method, path, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise TransportError(
                f"no answer from the clearinghouse ({type(error).__name__}): "
                "check the address and the connection, then try again"
            ) from None
        if response.is_success:
            return response
        raise _refusal(response)


class _RefusedError(InputError):
    """The clearinghouse says that what was sent is wrong."""


def _refusal(response: httpx.Response) -> InputError | StateError | TransportError:
    try:
        message = decode(response.content, ErrorAnswer).error.message
    except InputError:
        return TransportError(f"the clearinghouse answered {response.status_code} without a reason")
    if response.status_code == 404:
        return UnknownCaseError(message)
    if response.status_code in {409, 422}:
        return StateError(message)
    if response.status_code in {429, 503}:
        wait = response.headers.get("retry-after", "60")
        return TransportError(f"{message} (try again in {wait} seconds)")
    return _RefusedError(message)

"""Statements of reasons: what a platform tells the people whom a decision concerns.

The parts are those of Article 17(3) of Regulation (EU) 2022/2065 (Digital Services Act), in its
order: (a) the restriction, its territory and duration, (b) facts and whether a notice led to it,
(c) automated means, (d) the legal ground or (e) the contractual ground, (f) redress. The identity
of who sent the notice is left out: (b) asks for it only where strictly necessary.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec


class Ground(StrEnum):
    """On what a decision rests."""

    LAW = "law"
    TERMS = "terms"


class Refusal(StrEnum):
    """Why a notice was declined."""

    NOT_FOUND = "not_found"
    NOT_INTIMATE = "not_intimate"
    CONSENT = "consent"
    PUBLIC_INTEREST = "public_interest"
    NOT_AUTHORISED = "not_authorised"
    OTHER = "other"


REFUSAL_TEXTS: Final = {
    Refusal.NOT_FOUND: "It is not there, or is no longer there.",
    Refusal.NOT_INTIMATE: "It does not show what the notice describes.",
    Refusal.CONSENT: "There is a sound reason to believe that it was published with consent.",
    Refusal.PUBLIC_INTEREST: "It is of public interest.",
    Refusal.NOT_AUTHORISED: "Who signed may not act for the person shown.",
    Refusal.OTHER: "For another reason, given below.",
}


@dataclass(frozen=True, slots=True)
class Redress:
    """Where a decision can be disputed."""

    platform: str
    appeal_at: str
    outside: str = ""
    """Out-of-court settlement or the courts, as the platform describes them."""


class Statement(msgspec.Struct, frozen=True):
    """One statement of reasons, to the one who posted what was removed."""

    restriction: str
    territory: str
    duration: str
    facts: str
    after_notice: bool
    automated_detection: bool
    automated_decision: bool
    ground: Ground
    explanation: str
    redress: tuple[str, ...]
    decided_at: datetime

    def to_text(self) -> str:
        """The statement as a person reads it."""
        ground = "the law" if self.ground is Ground.LAW else "the terms of service"
        detected = (
            "Copies were found by comparing fingerprints of pictures and videos automatically."
            if self.automated_detection
            else "It was found without automated means."
        )
        decided = (
            "The decision was made automatically."
            if self.automated_decision
            else "A person decided."
        )
        return "\n".join(
            (
                f"Decision of {self.decided_at:%Y-%m-%d %H:%M} UTC",
                "",
                f"{self.restriction} {self.territory} {self.duration}",
                self.facts,
                f"{detected} {decided}",
                f"The decision rests on {ground}: {self.explanation}",
                "",
                "What you can do:",
                *(f"- {each}" for each in self.redress),
            )
        )


def for_removal(
    *, count: int, with_copies: bool, ground: Ground, decided_at: datetime, redress: Redress
) -> Statement:
    """The statement to whoever posted what a notice had removed.

    Args:
        count: pieces of content removed together.
        with_copies: whether some of them were found as copies of what the notice named.
    """
    pieces = "The content was" if count == 1 else f"{count} pieces of content were"
    means = [f"Appeal to {redress.platform} at {redress.appeal_at} with the code of this decision."]
    means.append(redress.outside or "Ask a court, or an out-of-court body where your law has one.")
    return Statement(
        f"{pieces} removed.",
        "Everywhere.",
        "For good, unless an appeal succeeds.",
        "Somebody shown in it, or an authorised person, asked in a signed notice that it be "
        "removed, and said in good faith that it was published without consent.",
        after_notice=True,
        automated_detection=with_copies,
        automated_decision=False,
        ground=ground,
        explanation=(
            "intimate pictures and videos of a person must not be published without consent."
            if ground is Ground.LAW
            else "they do not allow intimate pictures or videos of people who do not agree."
        ),
        redress=tuple(means),
        decided_at=decided_at,
    )

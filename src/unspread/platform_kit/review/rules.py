"""Who looks at what, how often, and when a decision stands: values in, values out.

The aim is fewer views. Two studies found that blur and greyscale do not measurably protect
reviewers (Lewitzka et al. 2026, https://doi.org/10.1007/s00426-026-02241-5); they are there because
they are expected, but what counts is that nothing is shown twice and that everyone has a limit.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NewType

import msgspec

from unspread.model import Reason
from unspread.platform_kit.store import Action, Verdict

ReviewerId = NewType("ReviewerId", int)
ContentKey = NewType("ContentKey", str)
"""Equal for equal content; says nothing about it."""


class ReviewSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[review]` section of platform.toml."""

    people: int = 1
    """1, or 2: how many reviewers must come to the same decision, neither knowing the other's."""
    views_per_day: int = 100
    """How often one reviewer may reveal content in a day (UTC). No source gives a safe number:
    choose yours with the people who do the work."""
    minutes_per_day: float = 30.0
    """How long one reviewer may have content revealed in a day."""
    origin: str = ""
    """Where the pages are reached, `https://review.example.org`; sign-in is bound to it. Empty:
    `http://localhost:PORT`."""
    content_url: str = ""
    """Where content can be fetched for review, with `{reference}` in it. Empty: held uploads are
    kept under the data directory until they are decided."""
    content_key_file: str = ""
    """A file under the data directory whose text is sent as `Authorization: Bearer …` there."""

    def __post_init__(self) -> None:
        if self.people not in {1, 2}:
            raise ValueError("review.people is 1 or 2")
        if self.views_per_day < 1 or self.minutes_per_day <= 0:
            raise ValueError("in [review], a reviewer's limits are above nothing")


@dataclass(frozen=True, slots=True)
class Vote:
    """What one reviewer concluded about one content."""

    reviewer: ReviewerId
    verdict: Verdict
    reason: Reason | None
    looked: bool
    """Whether the content was revealed to this reviewer."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What one reviewer was shown in one day."""

    views: int = 0
    seconds: float = 0.0

    def may_look(self, settings: ReviewSettings) -> bool:
        """Whether the day's limits leave room for one more view."""
        return self.views < settings.views_per_day and self.seconds < settings.minutes_per_day * 60


@dataclass(frozen=True, slots=True)
class Task:
    """One content that waits for a decision, with everything that holds it."""

    key: ContentKey
    holds: tuple[Action, ...]
    """Oldest first; several when it is posted or listed more than once."""

    @property
    def first(self) -> Action:
        """The oldest hold."""
        return self.holds[0]


def settled(votes: Sequence[Vote], people: int) -> Vote | None:
    """The vote that decides, or None while too few agree.

    The first verdict that `people` different reviewers share. Of several reasons, the first.
    """
    by_verdict: dict[Verdict, dict[ReviewerId, Vote]] = {}
    for vote in votes:
        agreed = by_verdict.setdefault(vote.verdict, {})
        agreed.setdefault(vote.reviewer, vote)
        if len(agreed) >= people:
            first, *others = agreed.values()
            looked = first.looked or any(other.looked for other in others)
            return Vote(first.reviewer, first.verdict, first.reason, looked)
    return None


def tasks(held: Sequence[tuple[ContentKey, Action]]) -> list[Task]:
    """One task for each content, in the order in which they came."""
    grouped: dict[ContentKey, list[Action]] = {}
    for key, action in held:
        grouped.setdefault(key, []).append(action)
    return [Task(key, tuple(holds)) for key, holds in grouped.items()]


def next_task(
    waiting: Sequence[Task],
    voted: Collection[ContentKey],
    busy: Collection[ContentKey],
    skipped: Collection[ContentKey] = (),
) -> Task | None:
    """What one reviewer should look at next.

    Args:
        waiting: in order of arrival.
        voted: what this reviewer has already decided; it is never shown to them again.
        busy: what another reviewer has open now; two people need not see one thing at once.
        skipped: what this reviewer passed over; it comes last.
    """
    open_tasks = [each for each in waiting if each.key not in voted and each.key not in busy]
    fresh = [each for each in open_tasks if each.key not in skipped]
    return next(iter(fresh or open_tasks), None)

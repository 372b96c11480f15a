"""Who looks at what, how often, and when a decision stands: values in, values out.

The aim is fewer views. Two studies found that blur and greyscale do not measurably protect
reviewers (Lewitzka et al. 2026, https://doi.org/10.1007/s00426-026-02241-5); they are there because
they are expected, but what counts is that nothing is shown twice and that everyone has a limit.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NewType

import msgspec

from unspread.model import MATCH_RADIUS_BITS, Reason
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
    copies_radius_bits: int = MATCH_RADIUS_BITS
    """How near content is to what somebody looks at to be decided with it, in bits of PDQ,
    inclusive; 0: equal pictures alone."""
    undo_minutes: float = 60.0
    """How long the content of a held upload is kept after its decision, to be looked at again if
    the decision is taken back. 0: it is deleted at once."""
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
        if not 0 <= self.copies_radius_bits <= 64:
            raise ValueError("review.copies_radius_bits is 0 to 64")
        if self.undo_minutes < 0:
            raise ValueError("review.undo_minutes is not negative")


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
class Held:
    """One hold of one content, and how near that content is to what stands for its group."""

    action: Action
    key: ContentKey
    bits: int = 0
    """From the group's first content; 0 for that itself."""


@dataclass(frozen=True, slots=True)
class Task:
    """Content that waits for one decision, with everything that holds it or a near copy of it."""

    key: ContentKey
    """Of the group's first content."""
    held: tuple[Held, ...]
    """Oldest first; several when it is posted or listed more than once."""

    @property
    def shown(self) -> Held:
        """What a reviewer is shown of it."""
        return self.held[0]

    @property
    def first(self) -> Action:
        """The oldest hold."""
        return self.shown.action

    @property
    def holds(self) -> tuple[Action, ...]:
        """Every hold."""
        return tuple(each.action for each in self.held)

    @property
    def copies(self) -> dict[ContentKey, Held]:
        """Contents besides the one that is shown, each once."""
        found: dict[ContentKey, Held] = {}
        for each in self.held:
            if each.key != self.shown.key:
                found.setdefault(each.key, each)
        return found


def carries(verdict: Verdict, bits: int, to_listing_bits: int) -> bool:
    """Whether a decision on one content also decides a near copy of it.

    `remove` does: a person saw in it what the listing means. `keep` and `dispute` do only for what
    is at least as near to the content that was looked at as to the listing: else somebody could
    have a harmless look-alike kept first, and the protected picture after it.

    Args:
        verdict: on the content that was looked at.
        bits: of the copy, from that content.
        to_listing_bits: of the copy, from the nearest listing that holds it.
    """
    return verdict is Verdict.REMOVE or bits <= to_listing_bits


def carried(task: Task, verdict: Verdict, *, earlier: bool = False) -> tuple[Held, ...]:
    """The holds that a verdict decides; the others wait for one of their own.

    Args:
        task: what it is about.
        verdict: on what the task shows, or on its group's first content if `earlier`.
        earlier: whether it was reached before any of this was held.
    """
    nearest: dict[ContentKey, int] = {}
    for each in task.held:
        bits = each.action.distance_bits or 0
        nearest[each.key] = min(bits, nearest.get(each.key, bits))
    # If the first content is gone, what is shown in its place is itself some bits away from it.
    further = 0 if earlier else task.shown.bits
    return tuple(
        each
        for each in task.held
        if (each.key == task.shown.key and not earlier)
        or carries(verdict, each.bits + further, nearest[each.key])
    )


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


def tasks(held: Sequence[tuple[ContentKey, Held]]) -> list[Task]:
    """One task for each group, in the order in which they came.

    Args:
        held: every hold, with the key of its group's first content.
    """
    grouped: dict[ContentKey, list[Held]] = {}
    for key, each in held:
        grouped.setdefault(key, []).append(each)
    return [Task(key, tuple(members)) for key, members in grouped.items()]


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

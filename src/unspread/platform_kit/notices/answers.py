"""What a person who sent a notice is told of it: on the page, to a program, or by a message."""

from dataclasses import dataclass
from typing import Final

from unspread.platform_kit.notices.record import Notice
from unspread.platform_kit.notices.rules import Status, Step
from unspread.platform_kit.notices.statement import REFUSAL_TEXTS, Ground
from unspread.platform_kit.notices.texts import LACKS, NEEDS

NO_MORE_KNOWN: Final = (
    "Copies that were changed a lot, or that the platform does not know of, can remain: if you see "
    "it again, send another notice with the new address."
)


@dataclass(frozen=True, slots=True)
class Answers:
    """One platform's answers."""

    platform: str
    status_at: str
    """Address of the page that a number opens."""
    complaints: str = ""
    """Where a decision can be disputed outside the platform, as the platform describes it."""

    def answer(self, notice: Notice, written: str) -> str:
        """Where a notice stands, why, and what can be done about it.

        Article 16(4) to (6) of Regulation (EU) 2022/2065 asks for a confirmation, the decision,
        redress, and word of automated means; 47 USC 223a has none of it.

        Args:
            notice: as it stands.
            written: by the platform for its sender, at the last step.
        """
        said = [each for each in (*self._said(notice), written) if each]
        redress = self._redress(notice)
        if redress:
            said += ["", "What you can do:", *(f"- {each}" for each in redress)]
        return "\n".join(said)

    def _said(self, notice: Notice) -> list[str]:
        now, last = notice.standing, notice.lines[-1]
        at = f"{last.at:%Y-%m-%d %H:%M} UTC"
        if now.appealed_at is not None:
            whose = "Who posted it has" if last.step is Step.POSTER_APPEALED else "You have"
            return [f"{at}: {whose} appealed, and {self.platform} looks at it again."]
        match now.status:
            case Status.OPEN:
                said = [f"{at}: {self.platform} has your complete notice."]
                if now.deadline is not None:
                    said.append(f"The 48 hours end on {now.deadline:%Y-%m-%d at %H:%M} UTC.")
            case Status.INCOMPLETE:
                said = [f"{at}: something is lacking, and the 48 hours rest until it is there."]
                said += [f"{NEEDS[need]}: {LACKS[lack]}" for need, lack in now.lacks]
            case Status.REMOVED:
                said = [*self._stands(notice), *self._removed(notice)]
            case Status.DECLINED:
                said = [*self._stands(notice), *self._declined(notice)]
            case Status.RESTORED:
                said = [f"{at}: it was removed, and is shown again: who posted it had appealed."]
            case Status.WITHDRAWN:
                said = [f"{at}: you withdrew your notice."]
        return said

    def _declined(self, notice: Notice) -> list[str]:
        return [
            f"{_decided_at(notice)}: {self.platform} looked at your notice, and leaves in place "
            "what it names.",
            REFUSAL_TEXTS[notice.refusal] if notice.refusal is not None else "",
        ]

    def _stands(self, notice: Notice) -> list[str]:
        last = notice.lines[-1]
        if last.step is not Step.APPEAL_ANSWERED:
            return []
        return [f"{last.at:%Y-%m-%d %H:%M} UTC: the decision stands after the appeal."]

    def _removed(self, notice: Notice) -> list[str]:
        statement, count = notice.statement, len(notice.removed)
        ground = statement is not None and statement.ground is Ground.LAW
        found = (
            "Copies were found by comparing fingerprints automatically; a person decided."
            if statement is not None and statement.automated_detection
            else "A person decided."
        )
        pieces = "one piece" if count == 1 else f"{count} pieces, copies included,"
        return [
            f"{_decided_at(notice)}: {self.platform} decided to remove what your notice names: "
            f"{pieces} of content.",
            f"{found} The decision rests on {'the law' if ground else 'the terms of service'}.",
            NO_MORE_KNOWN,
        ]

    def _redress(self, notice: Notice) -> list[str]:
        now, last = notice.standing, notice.lines[-1]
        outside = self.complaints or "Ask a court, or an out-of-court body where your law has one."
        if now.appealed_at is not None:
            return []
        match now.status:
            case Status.INCOMPLETE:
                return [f"Send what is lacking, with your number, at {self.status_at}."]
            case Status.DECLINED if last.step is Step.APPEAL_ANSWERED:
                return [outside]
            case Status.DECLINED:
                return [f"Appeal, with your number, at {self.status_at}.", outside]
            case Status.RESTORED:
                return [outside]
            case _:
                return []


def _decided_at(notice: Notice) -> str:
    decided = {Step.REMOVED, Step.DECLINED}
    at = next(line.at for line in reversed(notice.lines) if line.step in decided)
    return f"{at:%Y-%m-%d %H:%M} UTC"

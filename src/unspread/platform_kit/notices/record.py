"""The record of notices: lines that are only ever added, each sealed to the one before.

What a requester wrote about themselves stands apart from the record, so that it can be erased
when the law asks for that; the record keeps a salted digest of it and stays whole.
"""

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NewType

import msgspec

from unspread.crypto import sha256
from unspread.errors import InputError, StateError, TrustError
from unspread.platform_kit.notices.rules import (
    Event,
    ImpossibleStepError,
    Lack,
    Need,
    Request,
    Standing,
    Step,
    lacks,
    standing,
)
from unspread.platform_kit.notices.statement import Refusal, Statement
from unspread.platform_kit.store import Action, ActionKind, Message, Store, time_text

NoticeId = NewType("NoticeId", int)
TrackingNumber = NewType("TrackingNumber", str)

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32, as receipts have it: nothing that looks like something else."""
_LETTERS: Final = 16
_READ_AS: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": ""})

SCHEMA: Final = (
    """CREATE TABLE notices (
        notice INTEGER PRIMARY KEY AUTOINCREMENT, tracking_digest BLOB NOT NULL UNIQUE,
        appeal_digest BLOB NOT NULL UNIQUE, appeal_code TEXT NOT NULL,
        received_at TEXT NOT NULL)""",
    "CREATE INDEX notices_by_time ON notices (received_at)",
    """CREATE TABLE notice_texts (
        text_digest BLOB PRIMARY KEY, notice INTEGER NOT NULL, what TEXT NOT NULL,
        salt BLOB NOT NULL, body TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX notice_texts_by_notice ON notice_texts (notice)",
    """CREATE TABLE notice_record (
        line INTEGER PRIMARY KEY AUTOINCREMENT, notice INTEGER NOT NULL, body TEXT NOT NULL,
        seal TEXT NOT NULL)""",
    "CREATE INDEX notice_record_by_notice ON notice_record (notice)",
    """CREATE TRIGGER notice_record_never_changes BEFORE UPDATE ON notice_record
        BEGIN SELECT RAISE(ABORT, 'the record of notices is only added to'); END""",
    """CREATE TRIGGER notice_record_never_shrinks BEFORE DELETE ON notice_record
        BEGIN SELECT RAISE(ABORT, 'the record of notices is only added to'); END""",
    "ALTER TABLE notices ADD COLUMN waits INTEGER NOT NULL DEFAULT 1",
    "CREATE INDEX notices_waiting ON notices (notice) WHERE waits",
    """CREATE INDEX actions_of_notices ON actions (number)
        WHERE origin = 'notice' AND action = 'remove' AND state IN ('pending', 'dead')""",
    """CREATE TABLE notice_messages (
        action_id TEXT PRIMARY KEY, notice INTEGER NOT NULL, contact TEXT NOT NULL,
        body TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX notice_messages_by_notice ON notice_messages (notice)",
)

TOLD_OF: Final = frozenset(
    {
        Step.RECEIVED,
        Step.FOUND_INCOMPLETE,
        Step.REMOVED,
        Step.DECLINED,
        Step.POSTER_APPEALED,
        Step.APPEAL_ANSWERED,
        Step.RESTORED,
    }
)
"""Of what others do with a notice its requester is told; their own steps they know."""

FIRST_SEAL: Final = "00" * 32


class NoSuchNoticeError(InputError):
    """No notice has this number, or it was mistyped."""


class TooManyError(StateError):
    """More notices came in than are taken at once: try again in a minute."""


class BrokenRecordError(TrustError):
    """A line of the record was changed, removed or added by hand."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the record. Nothing in it says who the requester or the poster is."""

    notice: int
    step: Step
    at: datetime
    by: str
    """`requester`, `poster`, or a reviewer's name."""
    lacks: dict[Need, Lack] = {}
    text_digest: str = ""
    """Of what was written with this step, salted; the text itself can be erased."""
    references: tuple[str, ...] = ()
    """What was removed or restored."""
    refusal: Refusal | None = None
    statement: Statement | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice as it stands."""

    notice_id: NoticeId
    lines: tuple[Line, ...]
    standing: Standing

    @property
    def received_at(self) -> datetime:
        """When it came in."""
        return self.lines[0].at

    @property
    def removed(self) -> tuple[str, ...]:
        """What was taken down for it."""
        return tuple(
            each for line in self.lines if line.step is Step.REMOVED for each in line.references
        )

    @property
    def removed_at(self) -> datetime | None:
        """When it was last decided to take it down."""
        return next((each.at for each in reversed(self.lines) if each.step is Step.REMOVED), None)

    @property
    def refusal(self) -> Refusal | None:
        """Why it was declined, if it was."""
        return next((line.refusal for line in reversed(self.lines) if line.refusal), None)

    @property
    def statement(self) -> Statement | None:
        """The statement of reasons to who posted it, if it was removed."""
        return next((line.statement for line in reversed(self.lines) if line.statement), None)


def new_code() -> TrackingNumber:
    """80 random bits in four groups of four: nobody finds another's by trying."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS))
    return TrackingNumber("-".join(letters[at : at + 4] for at in range(0, _LETTERS, 4)))


def code_digest(text: str) -> bytes:
    """What is kept of a code as somebody typed it.

    Raises:
        NoSuchNoticeError: if it cannot be one.
    """
    letters = text.upper().translate(_READ_AS).strip()
    if len(letters) != _LETTERS or any(letter not in _ALPHABET for letter in letters):
        raise NoSuchNoticeError("this number has 16 letters and digits: check each one")
    return sha256(b"unspread/v1/notice-code", letters.encode())


class Record:
    """The notices of one platform. Methods block; any thread may call."""

    def __init__(
        self,
        store: Store,
        hosts: frozenset[str],
        per_minute: int,
        answer: Callable[[Notice, str], str] | None = None,
    ) -> None:
        """The record.

        Args:
            store: of the kit.
            hosts: of the platform, for `rules.lacks`.
            per_minute: notices taken in a minute.
            answer: what a requester is told of their notice, with what was written for them at its
                last step; None if the platform has nothing that would tell them.
        """
        self._store = store
        self._answer = answer
        self._hosts = hosts
        self._per_minute = per_minute
        store.migrate("notices", SCHEMA)

    # By the requester

    def receive(self, request: Request, at: datetime) -> tuple[TrackingNumber, Notice]:
        """Take a request in; the number is shown once and kept nowhere.

        Raises:
            TooManyError: if more came than are taken in a minute.
        """
        number, appeal = new_code(), new_code()
        missing = lacks(request, self._hosts)

        def work(connection: sqlite3.Connection) -> NoticeId:
            self._check_rate(connection, at)
            made = connection.execute(
                "INSERT INTO notices (tracking_digest, appeal_digest, appeal_code, received_at)"
                " VALUES (?, ?, ?, ?) RETURNING notice",
                (code_digest(number), code_digest(appeal), appeal, time_text(at)),
            ).fetchone()
            notice_id = NoticeId(made[0])
            digest = _keep(connection, notice_id, "request", _request_text(request))
            _append(
                connection,
                Line(notice_id, Step.RECEIVED, at, "requester", missing, digest),
            )
            self._tell(connection, notice_id, at, "")
            return notice_id

        notice_id = self._store.write(work)
        return number, self.get(notice_id)

    def _check_rate(self, connection: sqlite3.Connection, at: datetime) -> None:
        recent = connection.execute(
            "SELECT count(*) FROM notices WHERE received_at > ?",
            (time_text(at - timedelta(minutes=1)),),
        ).fetchone()[0]
        if recent >= self._per_minute:
            raise TooManyError("many notices are coming in: try again in a minute")

    def complete(self, notice_id: NoticeId, request: Request, at: datetime) -> Notice:
        """Take in a request again, with what was lacking."""
        missing = lacks(request, self._hosts)
        return self._step(
            Line(notice_id, Step.COMPLETED, at, "requester", missing),
            text=("request", _request_text(request)),
        )

    def withdraw(self, notice_id: NoticeId, at: datetime) -> Notice:
        """The requester no longer asks."""
        return self._step(Line(notice_id, Step.WITHDRAWN, at, "requester"))

    def appeal(self, notice_id: NoticeId, text: str, at: datetime, *, poster: bool) -> Notice:
        """The requester or the poster asks for a second look."""
        if not 0 < len(text.strip()) <= 4000:
            raise InputError("say in up to 4000 characters why the decision is wrong")
        step, by = (Step.POSTER_APPEALED, "poster") if poster else (Step.APPEALED, "requester")
        return self._step(Line(notice_id, step, at, by), text=("appeal", text.strip()))

    # By the platform's people

    def found_incomplete(
        self, notice_id: NoticeId, missing: dict[Need, Lack], by: str, at: datetime
    ) -> Notice:
        """Somebody looked, and cannot go on without more."""
        return self._step(Line(notice_id, Step.FOUND_INCOMPLETE, at, by, missing))

    def remove(
        self,
        notice_id: NoticeId,
        references: Sequence[str],
        statement: Statement,
        by: str,
        at: datetime,
    ) -> Notice:
        """Remove content and record it, in one transaction."""
        if not references:
            raise InputError("choose what to remove")
        line = Line(
            notice_id,
            Step.REMOVED,
            at,
            by,
            references=tuple(references),
            statement=statement,
        )
        return self._step(line, action=ActionKind.REMOVE)

    def decline(
        self, notice_id: NoticeId, refusal: Refusal, explanation: str, by: str, at: datetime
    ) -> Notice:
        """Leave it in place, and say why."""
        if refusal is Refusal.OTHER and not explanation.strip():
            raise InputError("say why")
        line = Line(notice_id, Step.DECLINED, at, by, refusal=refusal)
        return self._step(line, text=("explanation", explanation.strip()[:4000]))

    def answer_appeal(
        self, notice_id: NoticeId, explanation: str, by: str, at: datetime, *, restore: bool
    ) -> Notice:
        """The decision stands, or what was removed is shown again."""
        before = self.get(notice_id)
        step = Step.RESTORED if restore else Step.APPEAL_ANSWERED
        references = before.removed if restore else ()
        return self._step(
            Line(notice_id, step, at, by, references=references),
            text=("explanation", explanation.strip()[:4000]),
            action=ActionKind.RELEASE,
        )

    def _step(
        self,
        line: Line,
        *,
        text: tuple[str, str] | None = None,
        action: ActionKind | None = None,
    ) -> Notice:
        notice_id = NoticeId(line.notice)

        def work(connection: sqlite3.Connection) -> None:
            before = _lines(connection, notice_id)
            # Judged inside the transaction: two people may press two buttons at once.
            after = standing([*map(_event, before), _event(line)])
            connection.execute(
                "UPDATE notices SET waits = ? WHERE notice = ?", (after.waits, notice_id)
            )
            digest = _keep(connection, notice_id, *text) if text is not None else ""
            _append(connection, msgspec.structs.replace(line, text_digest=digest))
            if action is not None and line.references:
                self._store.queue_for_notice(
                    connection,
                    action,
                    line.references,
                    rule=_rule(notice_id, len(before) + 1),
                    at=line.at,
                )
            if line.step in TOLD_OF:
                told = (
                    text[1] if text is not None and line.by not in {"requester", "poster"} else ""
                )
                self._tell(connection, notice_id, line.at, told)

        self._store.write(work)
        return self.get(notice_id)

    def _tell(
        self, connection: sqlite3.Connection, notice_id: NoticeId, at: datetime, written: str
    ) -> None:
        """Queue that the requester is told, if anything is there to tell them."""
        notice, contact = _notice(connection, notice_id), _contact(connection, notice_id)
        if self._answer is None or notice is None or contact is None:
            return
        (action_id,) = self._store.queue_for_notice(
            connection,
            ActionKind.TELL,
            [f"notice/{notice_id}"],
            rule=_rule(notice_id, len(notice.lines)),
            at=at,
        )
        connection.execute(
            "INSERT INTO notice_messages VALUES (?, ?, ?, ?)",
            (action_id, notice_id, contact, self._answer(notice, written)),
        )

    def message(self, action: Action) -> Message | None:
        """What a `tell` tells; None once it is erased."""
        row = self._store.read(
            lambda c: c.execute(
                "SELECT contact, body FROM notice_messages WHERE action_id = ?",
                (action.action_id,),
            ).fetchone()
        )
        return None if row is None else Message(row["contact"], row["body"])

    # Reading

    def by_tracking(self, text: str) -> Notice:
        """The notice that a requester's number opens.

        Raises:
            NoSuchNoticeError: if it opens none.
        """
        return self._by("tracking_digest", text)

    def by_appeal_code(self, text: str) -> Notice:
        """The notice that the code in a statement of reasons belongs to.

        Raises:
            NoSuchNoticeError: if it belongs to none.
        """
        return self._by("appeal_digest", text)

    def _by(self, column: str, text: str) -> Notice:
        digest = code_digest(text)
        row = self._store.read(
            lambda c: c.execute(
                f"SELECT notice FROM notices WHERE {column} = ?",  # noqa: S608 - two fixed names
                (digest,),
            ).fetchone()
        )
        if row is None:
            raise NoSuchNoticeError("no notice has this number")
        return self.get(NoticeId(row[0]))

    def get(self, notice_id: NoticeId) -> Notice:
        """One notice.

        Raises:
            NoSuchNoticeError: if there is none.
        """
        notice = self._store.read(lambda c: _notice(c, notice_id))
        if notice is None:
            raise NoSuchNoticeError("there is no such notice")
        return notice

    def waiting(self) -> list[Notice]:
        """Every notice on which something is to be done, oldest first."""
        return self._several("waits ORDER BY notice")

    def decided(self, limit: int = 200) -> list[Notice]:
        """The newest notices on which nothing is to be done, newest first."""
        return self._several(f"NOT waits ORDER BY notice DESC LIMIT {int(limit)}")

    def confirmed(self, notice: Notice) -> int:
        """Of what was removed for it, how much the platform's software says is gone."""
        rules = [
            _rule(notice.notice_id, number)
            for number, line in enumerate(notice.lines, start=1)
            if line.step is Step.REMOVED
        ]
        references = json.dumps(notice.removed)
        row = self._store.read(
            lambda c: c.execute(
                "SELECT count(DISTINCT reference) FROM actions WHERE origin = 'notice'"
                " AND action = 'remove' AND state = 'delivered'"
                " AND reference IN (SELECT value FROM json_each(?))"
                " AND rule IN (SELECT value FROM json_each(?))",
                (references, json.dumps(rules)),
            ).fetchone()
        )
        return int(row[0])

    def unconfirmed(self) -> list[Notice]:
        """Notices for which something was decided to be removed that is not known to be gone."""
        rows = self._store.read(
            lambda c: c.execute(
                "SELECT DISTINCT rule FROM actions WHERE origin = 'notice' AND action = 'remove'"
                " AND state IN ('pending', 'dead')"
            ).fetchall()
        )
        return [self.get(each) for each in sorted({_notice_of(row["rule"]) for row in rows})]

    def _several(self, condition: str) -> list[Notice]:
        rows = self._store.read(
            lambda c: c.execute(
                f"SELECT notice FROM notices WHERE {condition}"  # noqa: S608 - our own text
            ).fetchall()
        )
        return [self.get(NoticeId(row[0])) for row in rows]

    def appeal_code(self, notice_id: NoticeId) -> str:
        """The code that goes with the statement of reasons."""
        row = self._store.read(
            lambda c: c.execute(
                "SELECT appeal_code FROM notices WHERE notice = ?", (notice_id,)
            ).fetchone()
        )
        return str(row[0])

    def request(self, notice_id: NoticeId) -> Request | None:
        """What the requester wrote last, or None once it is erased."""
        texts = self._texts(notice_id, "request")
        return _request_of(texts[-1]) if texts else None

    def texts(self, notice_id: NoticeId) -> list[tuple[Line, str]]:
        """What was written with each appeal and decision, in order; erased ones are left out."""
        found = []
        for line in self.get(notice_id).lines:
            if line.text_digest and line.step not in {Step.RECEIVED, Step.COMPLETED}:
                body = self._text(line.text_digest)
                if body:
                    found.append((line, body))
        return found

    def _text(self, digest: str) -> str | None:
        row = self._store.read(
            lambda c: c.execute(
                "SELECT body FROM notice_texts WHERE text_digest = ?", (bytes.fromhex(digest),)
            ).fetchone()
        )
        return None if row is None else str(row[0])

    def _texts(self, notice_id: NoticeId, what: str) -> list[str]:
        lines = self.get(notice_id).lines
        wanted = {Step.RECEIVED, Step.COMPLETED} if what == "request" else set(Step)
        found = [self._text(line.text_digest) for line in lines if line.step in wanted]
        return [each for each in found if each is not None]

    def erase_texts(self, notice_id: NoticeId, by: str, at: datetime) -> None:
        """Erase what people wrote with a decided notice. The record of what happened stays.

        Raises:
            ImpossibleStepError: while the notice is open.
        """
        if self.get(notice_id).standing.waits:
            raise ImpossibleStepError("this notice is not decided yet")

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM notice_texts WHERE notice = ?", (notice_id,))
            connection.execute("DELETE FROM notice_messages WHERE notice = ?", (notice_id,))
            self._store.erase_after_commit()

        self._store.write(work)
        self._store.audit(by, "erased the texts of a notice", str(notice_id), at)

    def export(self) -> list[str]:
        """The whole record as JSON lines, each with its seal, oldest first."""
        rows = self._store.read(
            lambda c: c.execute("SELECT body, seal FROM notice_record ORDER BY line").fetchall()
        )
        return [
            json.dumps({"seal": row["seal"], "line": row["body"]}, ensure_ascii=False)
            for row in rows
        ]


def check_export(lines: Iterable[str]) -> str:
    """The seal of the last line, if every line is where and what it was when it was written.

    Raises:
        BrokenRecordError: saying which line is not.
    """
    seal = FIRST_SEAL
    for number, text in enumerate(lines, start=1):
        try:
            read: dict[str, Any] = json.loads(text)
            seal = _seal(seal, str(read["line"]))
            held = read["seal"] == seal
        except (ValueError, KeyError, TypeError):
            held = False
        if not held:
            raise BrokenRecordError(f"line {number} of the record is not what was written")
    return seal


def _seal(before: str, body: str) -> str:
    return sha256(b"unspread/v1/notice-record", bytes.fromhex(before), body.encode()).hex()


def _append(connection: sqlite3.Connection, line: Line) -> None:
    last = connection.execute(
        "SELECT seal FROM notice_record ORDER BY line DESC LIMIT 1"
    ).fetchone()
    body = msgspec.json.encode(line).decode()
    seal = _seal(last["seal"] if last else FIRST_SEAL, body)
    connection.execute(
        "INSERT INTO notice_record (notice, body, seal) VALUES (?, ?, ?)",
        (line.notice, body, seal),
    )


def _keep(connection: sqlite3.Connection, notice_id: NoticeId, what: str, body: str) -> str:
    salt = secrets.token_bytes(16)
    digest = sha256(b"unspread/v1/notice-text", salt, body.encode())
    connection.execute(
        "INSERT INTO notice_texts VALUES (?, ?, ?, ?, ?)", (digest, notice_id, what, salt, body)
    )
    return digest.hex()


def _lines(connection: sqlite3.Connection, notice_id: NoticeId) -> list[Line]:
    rows = connection.execute(
        "SELECT body FROM notice_record WHERE notice = ? ORDER BY line", (notice_id,)
    )
    return [msgspec.json.decode(row["body"], type=Line) for row in rows]


def _notice(connection: sqlite3.Connection, notice_id: NoticeId) -> Notice | None:
    lines = _lines(connection, notice_id)
    if not lines:
        return None
    return Notice(notice_id, tuple(lines), standing([_event(line) for line in lines]))


def _contact(connection: sqlite3.Connection, notice_id: NoticeId) -> str | None:
    """What the requester wrote last about how to be reached; None once it is erased."""
    digests = [
        bytes.fromhex(line.text_digest)
        for line in _lines(connection, notice_id)
        if line.step in {Step.RECEIVED, Step.COMPLETED}
    ]
    row = connection.execute(
        "SELECT body FROM notice_texts WHERE text_digest = ?", (digests[-1],)
    ).fetchone()
    return None if row is None else _request_of(row["body"]).contact


def _rule(notice_id: NoticeId, step: int) -> str:
    return f"notice {notice_id}, step {step}"


def _notice_of(rule: str) -> NoticeId:
    """The other way round."""
    return NoticeId(int(rule.removeprefix("notice ").partition(",")[0]))


def _event(line: Line) -> Event:
    return Event(line.step, line.at, tuple(line.lacks.items()))


def _request_text(request: Request) -> str:
    return msgspec.json.encode(request).decode()


def _request_of(text: str) -> Request:
    return msgspec.json.decode(text, type=Request)

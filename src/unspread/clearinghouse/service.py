"""The running clearinghouse: what the routes call. Joins the rules, the store, the gates."""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final, TypeVar

import httpx
import msgspec
from prometheus_client import CollectorRegistry

from unspread import crypto
from unspread.case_protocol import (
    MAX_FINGERPRINTS_PER_ITEM,
    MAX_ITEMS_PER_CASE,
    VERSION,
    About,
    AcknowledgeRequest,
    CaseAccepted,
    CaseRequest,
    CaseStatus,
    CaseSubmission,
    Challenge,
    FeedbackRequest,
    FeedbackText,
    ItemAccepted,
    ItemWithdrawn,
    Limits,
    PlatformHeard,
    Promise,
    WithdrawalAccepted,
    WithdrawalRequest,
    from_b64,
    promise_message,
    to_b64,
)
from unspread.clearinghouse import (
    backup,
    canaries,
    files,
    key_files,
    partners,
    policies,
    reading,
    store,
    well_known,
)
from unspread.clearinghouse.database import Connection, connect
from unspread.clearinghouse.gate import (
    Budget,
    Challenges,
    NonceBook,
    ProofOfWork,
    RateBuckets,
)
from unspread.clearinghouse.housekeeping import Housekeeper
from unspread.clearinghouse.lookup import Bank, Found, listing_of_handle
from unspread.clearinghouse.own_entries import OwnEntries
from unspread.clearinghouse.publisher import DatabaseEntries, Publisher
from unspread.clearinghouse.rules import MalformedCaseError, assess
from unspread.clearinghouse.settings import Settings
from unspread.clearinghouse.settling import Settler
from unspread.clearinghouse.tokens import Tokens
from unspread.clearinghouse.writer import Writer
from unspread.crypto import (
    SALT_BYTES,
    HandleKey,
    SignatureError,
    case_request_message,
    withdrawal_message,
)
from unspread.errors import InputError, UnspreadError
from unspread.exchange.blind_lookup import HANDLE_BYTES, Evaluator
from unspread.feed.blobs import DirectoryBlobs
from unspread.feed.writer import FeedWriter
from unspread.model import Feedback, FeedbackKind, Fingerprint, ListingId, State
from unspread.transparency.note import NoteSigner
from unspread.transparency.policy import NO_WITNESSES, PolicyFile
from unspread.transparency.witness import Witnesses

T = TypeVar("T")

_WITNESS_SECONDS: Final = 10.0
"""A witness that takes longer is not waited for, for one publication."""
MAX_MERGE_SECONDS: Final = 60
READ_THREADS: Final = 3
MAX_LOOKUPS_AT_ONCE: Final = 100
MAX_BLIND_AT_ONCE: Final = 16
BLIND_COST: Final = 10
LARGE_CASE: Final = 200
"""Fingerprints."""
MAX_FEEDBACK_AT_ONCE: Final = 500
MAX_FEEDBACK_ID: Final = 80


def utc_text(second: int) -> str:
    """RFC 3339, whole seconds, Z."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _feedback(message: FeedbackText, handles: HandleKey) -> Feedback:
    if not 1 <= len(message.id) <= MAX_FEEDBACK_ID:
        raise InputError(f"the id of a piece of feedback has 1 to {MAX_FEEDBACK_ID} characters")
    if message.at.tzinfo is None:
        raise InputError("times are given in UTC, with a Z")
    try:
        kind = FeedbackKind(message.kind)
    except ValueError:
        raise InputError(f"feedback is one of {', '.join(FeedbackKind)}") from None
    listing_id = message.listing_id
    if isinstance(listing_id, str):
        listing_id = listing_of_handle(handles, from_b64(listing_id, HANDLE_BYTES, "listing_id"))
    return Feedback(
        ListingId(listing_id),
        kind,
        message.at,
        message.count,
        message.reason,
        message.accounts,
        message.oldest_on,
    )


class _Readers:
    """A few threads with a connection each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="reader")

    def _call(self, question: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self._settings, read_only=True)
            self._local.connection = connection
        return question(connection)

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The question's answer, from one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._call, question)

    def ask_now(self, question: Callable[[Connection], T]) -> T:
        """The same for threads that may wait."""
        return self._pool.submit(self._call, question).result()

    def close(self) -> None:
        self._pool.shutdown()


class Subscribers:
    """Who waits for new sizes of the log, on one event loop."""

    MAX: Final = 20_000

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Condition | None = None
        self._is_released = False
        self.size = 0
        self.count = 0

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake waiters on this loop from now on."""
        self._loop = loop
        self._changed = asyncio.Condition()

    def publish(self, size: int) -> None:
        """A new size is public. From any thread."""
        self.size = size
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._notify()))

    def release(self) -> None:
        """Let all waiters go on at once. From any thread."""
        self._is_released = True
        self.publish(self.size)

    async def _notify(self) -> None:
        if self._changed is not None:
            async with self._changed:
                self._changed.notify_all()

    async def beyond(self, size: int, timeout_seconds: float) -> int:
        """The size, as soon as it is another than `size`, or after the time is over."""
        if self._changed is None or self.size != size or self._is_released:
            return self.size
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(lambda: self.size != size or self._is_released)
        except TimeoutError:
            pass
        return self.size


class Service:
    """One clearinghouse. Made by `create_app`; `start` and `close` by its lifespan."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        key_files.prepare(settings)
        self.log_key = key_files.log_key(settings)
        self.log_origin = key_files.log_origin(settings)
        self.post_quantum_log_key = key_files.post_quantum_log_key(settings)
        self.log_signers = (
            NoteSigner(self.log_origin, self.log_key),
            NoteSigner(self.log_origin, self.post_quantum_log_key),
        )
        self.blobs = files.public_blobs(settings)
        """Where what is published is kept."""
        self.proofs = ProofOfWork(usual_per_minute=settings.submissions_per_minute, clock=clock)
        self.challenges = Challenges(clock)
        self.nonces = NonceBook(clock)
        exercise = 60 if settings.training else 1
        self.budget = Budget(per_minute=settings.max_submissions_per_minute * exercise, clock=clock)
        per_network = settings.submissions_per_minute_per_network * exercise
        self.buckets = RateBuckets(
            per_minute=per_network, burst=10 * per_network, clock=clock, random=os.urandom
        )
        self.readers = _Readers(settings)
        self.subscribers = Subscribers()
        self.tokens = Tokens(clock, self.nonces.spend)
        self.handles = key_files.handle_key(settings)
        self.evaluator = Evaluator(key_files.oprf_key(settings))
        self.bank = Bank(self.evaluator)
        self._lookup_questions = RateBuckets(
            per_minute=settings.lookups_per_minute,
            burst=10 * settings.lookups_per_minute,
            clock=clock,
            random=os.urandom,
        )
        self._lookup_matches = RateBuckets(
            per_minute=settings.lookup_matches_per_day / 1440,
            burst=settings.lookup_matches_per_day,
            clock=clock,
            random=os.urandom,
        )
        self._well_known = well_known.load(settings.data)
        self.languages: tuple[str, ...] = settings.languages or ("en",)
        """Of the pages; what is put around the service says which there are."""
        self.texts_changed: Callable[[], None] = lambda: None
        """Called when an editor saved texts; what is put around the service shows them."""
        self._writing_since = 0
        self._settled_second = -1
        self._settling = threading.Lock()
        self.stopping = False
        self.start_error: UnspreadError | None = None
        """Why `start` failed, for whoever started the server around it."""
        self.chores: list[Callable[[], bool]] = []
        """What the housekeeper does besides its own; parts add theirs before `start`."""
        self.registry = CollectorRegistry()
        self._running = ExitStack()
        self.writer: Writer[store.Transaction]
        self.settler: Settler
        self._fixed_documents: dict[str, bytes] = {}
        self.publisher: Publisher
        self.own_entries: OwnEntries

    def start(self) -> None:
        """Open the database, take up the log, begin to publish. Blocks for moments.

        Raises:
            UnspreadError: saying why the clearinghouse cannot run.
        """
        try:
            self._start()
        except UnspreadError as error:
            self.start_error = error
            raise

    def _start(self) -> None:
        with ExitStack() as starting:
            starting.enter_context(key_files.sole_publisher(self.settings))
            starting.callback(self.readers.close)
            self.settler = Settler(connect(self.settings))
            starting.callback(self.settler.close)
            self.writer = Writer(
                connect(self.settings),
                self._begin,
                store.Transaction.finish,
                self._committed,
                max_waiting=self.settings.max_waiting_writes,
            )
            starting.callback(self.writer.close)
            source = DatabaseEntries(connect(self.settings, read_only=True))
            witnesses = self.settings.witness_policy
            self._fixed_documents = {
                "keys": policies.of_keys(
                    [each.key.to_text() for each in self.log_signers],
                    self.evaluator.public_key,
                    witnesses.read_text() if witnesses else "",
                ),
                "rules": policies.of_rules(self.settings),
                "release": policies.of_release(),
            }
            self.own_entries = OwnEntries(
                self.settings,
                source.connection,
                self.writer.submit,
                canary_key=key_files.canary_key(self.settings),
                documents=self._documents,
                publish_document=self._publish_document,
                clock=self.clock,
            )
            self.publisher = Publisher(
                self._feed_writer_maker(source, starting),
                self.blobs,
                source,
                tick_seconds=self.settings.tick_seconds,
                batch=self.settings.padding_batch,
                append_due=self.own_entries.append_due,
                clock=self.clock,
                published=self.subscribers.publish,
                erased=self._erased,
            )
            self.publisher.start()
            starting.callback(self.publisher.close)
            starting.callback(Housekeeper(self.writer, self.chores).close)
            self._running = starting.pop_all()

    def _feed_writer_maker(
        self, source: DatabaseEntries, running: ExitStack
    ) -> Callable[[], FeedWriter]:
        cosign, quorum = None, NO_WITNESSES
        if self.settings.witness_policy is not None:
            policy = PolicyFile.from_text(self.settings.witness_policy.read_text())
            client = running.enter_context(httpx.Client(timeout=_WITNESS_SECONDS))
            cosign, quorum = Witnesses(client, policy.witnesses), policy.quorum
        book = canaries.Book(source.connection, key_files.canary_key(self.settings))
        return lambda: FeedWriter(
            origin=self.log_origin,
            log_key=self.log_key,
            post_quantum_key=self.post_quantum_log_key,
            public=self.blobs,
            private=DirectoryBlobs(self.settings.private_blobs),
            source=source,
            cosign=cosign,
            quorum=quorum,
            canaries=book,
        )

    def _documents(self, known: Sequence[partners.Partner]) -> dict[str, bytes]:
        """What the clearinghouse goes by at present, by label."""
        return {**self._fixed_documents, "partners": policies.of_partners(known)}

    def _publish_document(self, _label: str, document: bytes) -> None:
        path = policies.path(hashlib.sha256(document).digest())
        self.blobs.put(path, document)

    async def vouch(self, partner_id: str, listing_ids: Sequence[int]) -> None:
        """Take a helpline's word that it knows the case behind listings."""
        if not 1 <= len(listing_ids) <= MAX_ITEMS_PER_CASE:
            raise InputError(f"1 to {MAX_ITEMS_PER_CASE} listings at a time")
        await self.write(lambda tx: store.vouch(tx, partner_id, listing_ids))

    def stop_soon(self) -> None:
        """Let open push connections end."""
        self.stopping = True
        self.subscribers.release()

    def close(self) -> None:
        """Finish what was accepted, publish it, stop."""
        self.stop_soon()
        self._running.close()

    def _committed(self, transaction: store.Transaction) -> None:
        if transaction.appended:
            self.publisher.wake()
        if transaction.is_erasure_done:
            self.settler.wake()

    def _erased(self, positions: set[int]) -> None:
        backup.note_erased(self.settings, positions)
        self.writer.submit(lambda tx: store.erasures_done(tx, positions))

    def settled_second(self) -> int:
        """Every transaction stamped at or before this second is visible, and no more will be.

        So it trails the clock by one, and stands still while a transaction takes long.
        """
        now = int(self.clock())
        settled = (min(now, self._writing_since) if self.writer.is_busy else now) - 1
        with self._settling:
            # Once said it stays so: the writer is busy a moment before it notes since when.
            self._settled_second = max(self._settled_second, settled)
            return self._settled_second

    def _begin(self, connection: Connection) -> store.Transaction:
        self._writing_since = max(int(self.clock()), self._settled_second + 1)
        return store.begin(connection, self._writing_since)

    async def write(self, job: Callable[[store.Transaction], T]) -> T:
        """The job's answer, once its transaction is durable."""
        return await self.writer.submit_here(job)

    # --- for people

    def about(self) -> About:
        """What the clearinghouse says of itself. For threads that may wait."""
        return self._about(self.readers.ask_now(partners.partners))

    async def about_now(self) -> About:
        """What the clearinghouse says of itself."""
        return self._about(await self.readers.ask(partners.partners))

    def _about(self, known: Sequence[partners.Partner]) -> About:
        return About(
            protocol=VERSION,
            name=self.settings.name,
            log_origin=self.log_origin,
            training=self.settings.training,
            log_key=to_b64(self.log_key.public),
            limits=Limits(),
            languages=list(self.languages),
            platforms=[
                PlatformHeard(
                    each.name,
                    datetime.fromtimestamp(each.last_heard_at, UTC) if each.last_heard_at else None,
                )
                for each in known
                if each.state == "active" and each.role == "platform"
            ],
        )

    def proof_of_work(self) -> bytes:
        """A new challenge of `GET /v1/proof-of-work`, as JSON."""
        return msgspec.json.encode(self.proofs.challenge())

    def challenge(self) -> Challenge:
        """A text for `status` and `renew` to sign."""
        text, expires_at = self.challenges.issue()
        return Challenge(text, datetime.fromtimestamp(expires_at, UTC))

    async def submit(self, message: CaseSubmission, proof: str) -> tuple[bool, CaseAccepted]:
        """Take a case; whether it is new, and the answer.

        Raises:
            UnspreadError: if it is refused; nothing is stored then.
        """
        # Before the proof, which would be spent; taken after it, so that only work empties it.
        self.budget.require()
        self.proofs.check(proof or message.proof)
        self.budget.take()
        self.proofs.rate.add()
        # A film's frames take a while to look at: not on the thread that answers everybody.
        is_large = sum(len(item.fingerprints) for item in message.items) > LARGE_CASE
        case = (
            await asyncio.to_thread(self._checked, message) if is_large else self._checked(message)
        )
        accepted = await self.write(lambda tx: store.submit(tx, case))
        return accepted.created, self._answer(accepted)

    def _checked(self, message: CaseSubmission) -> store.NewCase:
        if message.version != VERSION:
            raise MalformedCaseError(f"this clearinghouse speaks version {VERSION}")
        if not 1 <= len(message.items) <= MAX_ITEMS_PER_CASE:
            raise MalformedCaseError(f"a case has 1 to {MAX_ITEMS_PER_CASE} items")
        keys: list[bytes] = []
        salts: list[bytes] = []
        fingerprints = []
        for number, item in enumerate(message.items):
            if not 1 <= len(item.fingerprints) <= MAX_FINGERPRINTS_PER_ITEM:
                raise MalformedCaseError(
                    f"an item has 1 to {MAX_FINGERPRINTS_PER_ITEM} fingerprints"
                )
            keys.append(from_b64(item.item_key, 32, f"items[{number}].item_key"))
            salts.append(from_b64(item.salt, SALT_BYTES, f"items[{number}].salt"))
            fingerprints.append([each.fingerprint() for each in item.fingerprints])
        if len(set(keys)) != len(keys):
            raise MalformedCaseError("every item has a key of its own")
        assessed = assess(fingerprints, self._well_known.reason)
        # The proof differs when a lost answer is asked for again; the content does not.
        content = msgspec.json.encode(msgspec.structs.replace(message, proof=""))
        return store.NewCase(
            case_key=from_b64(message.case_key, 32, "case_key"),
            content_digest=hashlib.sha256(content).digest(),
            age=message.age,
            items=tuple(
                store.NewItem(key, salt, item.media, each)
                for key, salt, item, each in zip(keys, salts, message.items, assessed, strict=True)
            ),
        )

    def _answer(self, accepted: store.Accepted) -> CaseAccepted:
        commitments = [commitment.hex() for _, _, _, commitment in accepted.items]
        signed_at = utc_text(accepted.promised_at)
        message = promise_message(self.log_origin, signed_at, MAX_MERGE_SECONDS, commitments)
        return CaseAccepted(
            items=[
                ItemAccepted(to_b64(key), state, list(reasons), commitment.hex())
                for key, state, reasons, commitment in accepted.items
            ],
            promise=Promise(signed_at, MAX_MERGE_SECONDS, to_b64(self.log_key.sign(message))),
        )

    def _signed_case(self, message: CaseRequest, purpose: str) -> bytes:
        """The case key, if the request is signed by it over one of our challenges."""
        case_key = from_b64(message.case_key, 32, "case_key")
        signature = from_b64(message.signature, 64, "signature")
        unknown = store.UnknownCaseError(
            "no case opens with this: check the receipt, and that it is from this clearinghouse"
        )
        try:
            self.challenges.spend(message.challenge)
            crypto.verify(
                case_key,
                case_request_message(purpose, self.log_origin, message.challenge),
                signature,
            )
        except SignatureError:
            raise unknown from None
        return case_key

    async def status(self, message: CaseRequest) -> CaseStatus:
        """Where a case stands.

        Raises:
            UnknownCaseError: if there is none, or the signature is not its key's.
        """
        case_key = self._signed_case(message, "status")
        return await self.readers.ask(lambda connection: reading.case_status(connection, case_key))

    async def renew(self, message: CaseRequest) -> CaseStatus:
        """Extend a case and say where it stands."""
        case_key = self._signed_case(message, "renew")
        await self.write(lambda tx: store.renew(tx, case_key))
        return await self.readers.ask(lambda connection: reading.case_status(connection, case_key))

    async def withdraw(self, message: WithdrawalRequest) -> WithdrawalAccepted:
        """Withdraw items; durable when this returns.

        Raises:
            UnknownCaseError: if an item is not known or a signature not its key's: nothing is
                changed then.
        """
        if not 1 <= len(message.withdrawals) <= MAX_ITEMS_PER_CASE:
            raise InputError(f"1 to {MAX_ITEMS_PER_CASE} items are withdrawn at a time")
        pairs = []
        for number, each in enumerate(message.withdrawals):
            key = from_b64(each.item_key, 32, f"withdrawals[{number}].item_key")
            signature = from_b64(each.signature, 64, f"withdrawals[{number}].signature")
            try:
                crypto.verify(key, withdrawal_message(self.log_origin, key), signature)
            except SignatureError:
                raise store.UnknownCaseError("one of these items is not known here") from None
            pairs.append((key, signature))
        await self.write(lambda tx: store.withdraw(tx, pairs))
        return WithdrawalAccepted(
            [ItemWithdrawn(each.item_key, State.WITHDRAWN) for each in message.withdrawals]
        )

    # --- for partners

    async def signed_by_partner(
        self, message: partners.SignedMessage, body: bytes, scope: str
    ) -> partners.Partner:
        """The active partner that signed this request.

        Raises:
            NotSignedError: if none did.
        """
        claimed = partners.claimed_partner_id(message.headers.get("signature-input", ""))
        try:
            known = await self.readers.ask(lambda connection: partners.partner(connection, claimed))
        except partners.UnknownPartnerError:
            raise partners.NotSignedError("this partner is not known here") from None
        used_next = partners.verify_signed(
            message, body, known, scope=scope, spend=self.nonces.spend
        )
        if used_next:
            await self.write(lambda tx: partners.promote(tx, claimed))
        return known

    async def take_feedback(self, partner_id: str, message: FeedbackRequest) -> int:
        """Take a partner's feedback; how many pieces were new."""
        if len(message.feedback) > MAX_FEEDBACK_AT_ONCE:
            raise InputError(f"at most {MAX_FEEDBACK_AT_ONCE} pieces of feedback at a time")
        said = [
            store.NewFeedback(each.id, _feedback(each, self.handles)) for each in message.feedback
        ]
        return await self.write(lambda tx: store.take_feedback(tx, partner_id, said))

    async def acknowledge(self, partner_id: str, message: AcknowledgeRequest) -> None:
        """Take a partner's word that it applied the log up to a size."""
        if not 0 <= message.size <= self.publisher.size:
            raise InputError("the log has not reached this size")
        try:
            root = bytes.fromhex(message.root)
        except ValueError:
            raise InputError("root is hex of 32 bytes") from None
        await self.write(lambda tx: store.acknowledge(tx, partner_id, message.size, root))
        self.own_entries.acknowledged()

    async def enroll(self, invitation: str, signing: str, sealing: str) -> partners.Partner:
        """Take a partner's public keys against an invitation."""
        signing_key = partners.signing_key_from(signing)
        sealing_key = partners.sealing_key_from(sealing)
        return await self.write(
            lambda tx: partners.enroll(tx, invitation, signing_key, sealing_key)
        )

    # --- lookup

    async def look_up(
        self, known: partners.Partner, questions: Sequence[Fingerprint]
    ) -> list[Found | None]:
        """What each fingerprint matches; nothing of the question is kept but how many there were.

        Raises:
            TooManyError: if the partner's quota is used up.
        """
        if not 1 <= len(questions) <= MAX_LOOKUPS_AT_ONCE:
            raise InputError(f"1 to {MAX_LOOKUPS_AT_ONCE} questions at a time")
        who = known.partner_id.encode()
        self._lookup_questions.take_for(who, len(questions))

        def ask(connection: Connection) -> list[Found | None]:
            self.bank.refresh(connection)
            return [self.bank.find(each) for each in questions]

        found = await self.readers.ask(ask)
        matched = sum(each is not None for each in found)
        if matched:
            self._lookup_matches.take_for(who, matched)
        self._count_lookups(len(questions), matched)
        return found

    async def look_up_blind(
        self, known: partners.Partner, elements: Sequence[bytes], prefixes: Sequence[int], bits: int
    ) -> tuple[list[bytes], bytes, list[bytes]]:
        """Evaluated elements, the proof, and the bucket of each."""
        if not 1 <= len(elements) <= MAX_BLIND_AT_ONCE or len(elements) != len(prefixes):
            raise InputError(f"1 to {MAX_BLIND_AT_ONCE} questions at a time, each with its bucket")
        # Whether something matched is not known here: every question counts as if it did.
        who = known.partner_id.encode()
        self._lookup_questions.take_for(who, BLIND_COST * len(elements))

        def ask(connection: Connection) -> tuple[list[bytes], bytes, list[bytes]]:
            self.bank.refresh(connection)
            self.bank.prepare_blind()
            buckets = [self.bank.bucket(each, bits, self.handles) for each in prefixes]
            return (*self.evaluator.blind_evaluate(elements), buckets)

        answer = await self.readers.ask(ask)
        self._count_lookups(len(elements), 0)
        return answer

    def _count_lookups(self, questions: int, matched: int) -> None:
        def count(tx: store.Transaction) -> None:
            tx.count("lookups", questions)
            if matched:
                tx.count("lookups.matched", matched)

        self.writer.submit(count)

    async def partner(self, partner_id: str) -> partners.Partner:
        """A partner's record.

        Raises:
            UnknownPartnerError: if there is none.
        """
        return await self.readers.ask(lambda connection: partners.partner(connection, partner_id))

    async def rotate(self, partner_id: str, signing_key: bytes, sealing_key: bytes) -> None:
        """Take a partner's new keys, which its present key signed for."""
        await self.write(lambda tx: partners.rotate(tx, partner_id, signing_key, sealing_key))

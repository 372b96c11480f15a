"""Carries actions out: reads the durable outbox, delivers, retries, and gives up loudly."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from unspread.platform_kit.actions.delivery import Deliver, TryAgainError, UndeliverableError
from unspread.platform_kit.actions.schedule import next_attempt
from unspread.platform_kit.store import Action, ActionKind, Message, Store

AT_ONCE: Final = 8
"""Deliveries at the same time: a slow receiver does not hold up the others."""

LOOK_AGAIN_SECONDS: Final = 1.0
"""How often the outbox is read when nobody woke the worker: retries fall due by themselves."""

_log = structlog.get_logger(__name__)

SCHEMA: Final = (
    """CREATE TABLE actions_delivery (
        action_id TEXT NOT NULL,
        destination TEXT NOT NULL,
        delivered_at TEXT NOT NULL,
        PRIMARY KEY (action_id, destination)
    ) WITHOUT ROWID""",
)
"""Which of several destinations an action has reached; an action with one needs no row."""


@dataclass(frozen=True, slots=True)
class Route:
    """One destination and the actions it gets."""

    name: str
    on: frozenset[ActionKind]
    deliver: Deliver


class Worker:
    """Delivers what is due until it is stopped. Two may run on one store; both are at least once.

    Older actions on the same reference go first, so that a retried `remove` cannot undo a later
    `release`.
    """

    def __init__(
        self,
        store: Store,
        routes: Sequence[Route],
        clock: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
        *,
        message_of: Callable[[Action], Message | None] = lambda _: None,
    ) -> None:
        """A worker.

        Args:
            store: of the outbox.
            routes: the destinations.
            clock: UTC, aware.
            chance: uniform in 0..1.
            message_of: what a `tell` tells, or None once it is erased: then nobody is told.
        """
        self._store = store
        self._routes = routes
        self._clock = clock
        self._chance = chance
        self._message_of = message_of
        self._woken = asyncio.Event()
        store.migrate("actions", SCHEMA)

    def wake(self) -> None:
        """Look at the outbox now. From the event loop's thread."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; what is under way is finished."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._woken.clear()
                if await self.deliver_due():
                    continue
                woken = asyncio.create_task(self._woken.wait())
                await asyncio.wait(
                    {stopped, woken},
                    timeout=LOOK_AGAIN_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                woken.cancel()
        finally:
            stopped.cancel()

    async def deliver_due(self) -> int:
        """Try everything that is due once; how many that was."""
        due = await asyncio.to_thread(self._store.actions_due, self._clock())
        places = asyncio.Semaphore(AT_ONCE)

        async def one(action: Action) -> None:
            async with places:
                await self._carry_out(action)

        await asyncio.gather(*(one(action) for action in due))
        return len(due)

    async def _carry_out(self, action: Action) -> None:
        routes = [route for route in self._routes if action.action in route.on]
        if action.action is ActionKind.TELL:
            message = await asyncio.to_thread(self._message_of, action)
            action = replace(action, message=message)
            routes = [] if message is None else routes
        several = len(routes) > 1
        if several:
            done = await asyncio.to_thread(self._store.read, _reached(action.action_id))
            routes = [route for route in routes if route.name not in done]
        outcomes = await asyncio.gather(
            *(self._attempt(route, action, several) for route in routes)
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        now = self._clock()
        if not failures:
            await asyncio.to_thread(self._store.action_delivered, action.action_id, now)
            return
        waits = [each.asked_seconds for each in failures if isinstance(each, TryAgainError)]
        retry_at = None
        if waits:
            asked = max((each for each in waits if each is not None), default=None)
            retry_at = next_attempt(now, action.attempts + 1, self._chance(), asked)
        text = "; ".join(str(failure) for failure in failures)
        if retry_at is None:
            _log.error("action_given_up", action_id=action.action_id, why=text)
        await asyncio.to_thread(self._store.action_failed, action.action_id, now, retry_at, text)

    async def _attempt(
        self, route: Route, action: Action, several: bool
    ) -> TryAgainError | UndeliverableError | None:
        try:
            await route.deliver(action, self._clock())
        except (TryAgainError, UndeliverableError) as error:
            _log.warning("action_failed", action_id=action.action_id, to=route.name, why=str(error))
            return error
        if several:
            await asyncio.to_thread(
                self._store.write, _reach(action.action_id, route.name, self._clock())
            )
        return None


def _reached(action_id: str) -> Callable[[sqlite3.Connection], set[str]]:
    def query(connection: sqlite3.Connection) -> set[str]:
        rows = connection.execute(
            "SELECT destination FROM actions_delivery WHERE action_id = ?", (action_id,)
        )
        return {name for (name,) in rows}

    return query


def _reach(action_id: str, name: str, at: datetime) -> Callable[[sqlite3.Connection], None]:
    def change(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO actions_delivery VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (action_id, name, at.isoformat()),
        )

    return change

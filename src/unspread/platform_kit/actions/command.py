"""Actions as a program of the platform's own."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from unspread.platform_kit.actions.delivery import TryAgainError, UndeliverableError, body
from unspread.platform_kit.store import Action

EXIT_NEVER: Final = 100
"""Exit status of a command that will never succeed with this action (qmail's convention)."""


class CommandDelivery:
    """Runs one program for each action, without a shell, the JSON on its standard input.

    What it prints goes to this process's standard error, never into a database or a log line.
    """

    def __init__(self, argv: Sequence[str], timeout_seconds: float) -> None:
        """`argv`: the program and its arguments."""
        self._argv = argv
        self._timeout_seconds = timeout_seconds

    async def __call__(self, action: Action, now: datetime) -> None:
        """Deliver once."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            raise TryAgainError(f"the command cannot be started ({type(error).__name__})") from None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await process.communicate(body(action))
        except TimeoutError:
            raise TryAgainError("the command took too long and was ended") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode == EXIT_NEVER:
            raise UndeliverableError(f"the command says it never can (exit status {EXIT_NEVER})")
        if process.returncode != 0:
            raise TryAgainError(f"the command failed (exit status {process.returncode})")

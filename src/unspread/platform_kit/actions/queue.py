"""Actions as messages on an Amazon SQS queue, or anything that speaks its protocol.

SQS because it is what object stores themselves announce uploads on (docs/platform/s3.md), so that
a platform that has one queue has the other. Sync underneath (boto3 has no other door).
"""

import asyncio
import importlib
from datetime import datetime
from typing import Any

from unspread.errors import InputError
from unspread.platform_kit.actions.delivery import TryAgainError, body
from unspread.platform_kit.store import Action


class QueueDelivery:
    """Sends one message an action. On a `.fifo` queue one reference's messages keep their order."""

    def __init__(self, client: Any, url: str) -> None:
        """`client`: boto3's, for SQS."""
        self._client = client
        self._url = url

    async def __call__(self, action: Action, now: datetime) -> None:
        """Deliver once."""
        await asyncio.to_thread(self._send, action)

    def _send(self, action: Action) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        extra = {}
        if self._url.endswith(".fifo"):
            extra = {
                "MessageGroupId": action.reference[:128],
                "MessageDeduplicationId": action.action_id,
            }
        try:
            self._client.send_message(
                QueueUrl=self._url, MessageBody=body(action).decode(), **extra
            )
        except (BotoCoreError, ClientError) as error:
            raise TryAgainError(f"the queue failed ({type(error).__name__})") from None


def sqs_client(region: str | None, endpoint: str | None) -> Any:
    """boto3's client for SQS, with credentials where AWS's own tools look for them.

    Raises:
        InputError: if boto3 is not installed.
    """
    try:
        boto3 = importlib.import_module("boto3")
    except ModuleNotFoundError:
        raise InputError("queues need boto3: pip install 'unspread[aws]'") from None
    return boto3.client("sqs", region_name=region, endpoint_url=endpoint)

"""New objects in a bucket, announced on a queue: scanned, and moved away if they match.

Reads what Amazon S3 and stores that speak its protocol announce, directly, through SNS or through
EventBridge (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html). A message leaves the queue
only when its objects are dealt with; otherwise the queue gives it out again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import quote, unquote_plus

import httpx
import msgspec
import structlog

from unspread.errors import InputError, TransportError

WAIT_SECONDS: Final = 20
"""How long one question to the queue waits for a message; the longest that SQS allows."""

_log = structlog.get_logger(__name__)


class NotAnEventError(InputError):
    """A message on the queue is no announcement of objects."""


@dataclass(frozen=True, slots=True)
class Created:
    """One new object."""

    bucket: str
    key: str


class Fate(Enum):
    """What becomes of an object."""

    KEEP = "keep"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How the consumer works."""

    queue_url: str
    kit_url: str
    key: str
    quarantine: str
    """Bucket that nobody can read from outside."""
    quarantine_unreadable: bool = False
    """Whether to move away what is neither a picture nor a video."""


def created_in(body: str) -> list[Created]:
    """The new objects that a message announces; none for announcements of other things.

    Raises:
        NotAnEventError: if it is no announcement.
    """
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NotAnEventError("not JSON") from None
    if not isinstance(message, dict):
        raise NotAnEventError("not a JSON object")
    if message.get("Type") == "Notification" and isinstance(message.get("Message"), str):
        return created_in(message["Message"])
    try:
        if "Records" in message:
            return [
                # S3 writes keys as in a form: a space is a plus sign.
                Created(each["s3"]["bucket"]["name"], unquote_plus(each["s3"]["object"]["key"]))
                for each in message["Records"]
                if each["eventName"].removeprefix("s3:").startswith("ObjectCreated")
            ]
        if "detail-type" in message:
            detail = message["detail"]
            if message["detail-type"] != "Object Created":
                return []
            return [Created(detail["bucket"]["name"], detail["object"]["key"])]
    except (KeyError, TypeError, AttributeError):
        raise NotAnEventError("not an event of S3") from None
    if message.get("Event") == "s3:TestEvent":
        return []
    raise NotAnEventError("not an event of S3")


def fate(status: int, settings: S3Settings) -> Fate:
    """What the kit's answer means for an object.

    Raises:
        TransportError: if it is no decision, so that the queue gives the message out again.
    """
    if 200 <= status < 300:
        return Fate.KEEP
    if status in {406, 409}:
        return Fate.QUARANTINE
    if status == 422:
        return Fate.QUARANTINE if settings.quarantine_unreadable else Fate.KEEP
    raise TransportError(f"the kit answered {status}")


class Consumer:
    """Works a queue off. Blocking; several may share a queue."""

    def __init__(self, settings: S3Settings, sqs: Any, s3: Any, http: httpx.Client) -> None:
        """`sqs` and `s3` are boto3's clients; all three are the caller's to close."""
        self._settings = settings
        self._sqs = sqs
        self._s3 = s3
        self._http = http

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Take messages until told to stop."""
        while not is_stopped():
            self.once(WAIT_SECONDS)

    def once(self, wait_seconds: int = 0) -> int:
        """Take up to ten messages and deal with them; how many were dealt with."""
        answer = self._sqs.receive_message(
            QueueUrl=self._settings.queue_url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait_seconds,
        )
        done = 0
        for message in answer.get("Messages", []):
            try:
                for created in created_in(message["Body"]):
                    self._deal_with(created)
            except NotAnEventError as error:
                # It would come back for ever; the queue's redrive policy cannot tell it apart.
                _log.error("message_not_understood", why=str(error))
            except TransportError as error:
                _log.warning("message_left_on_queue", why=str(error))
                continue
            self._sqs.delete_message(
                QueueUrl=self._settings.queue_url, ReceiptHandle=message["ReceiptHandle"]
            )
            done += 1
        return done

    def _deal_with(self, created: Created) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self._s3.get_object(Bucket=created.bucket, Key=created.key)
            if self._ask(created, found["Body"].iter_chunks()) is Fate.QUARANTINE:
                self._move(created)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in {"NoSuchKey", "404"}:
                raise TransportError("the object store refused") from None
        except BotoCoreError as error:
            raise TransportError(f"the object store failed ({type(error).__name__})") from None

    def _ask(self, created: Created, content: Any) -> Fate:
        reference = quote(f"s3://{created.bucket}/{created.key}"[:512], safe="")
        try:
            answer = self._http.post(
                f"{self._settings.kit_url}/scan?reference={reference}",
                content=content,
                headers={"authorization": f"Bearer {self._settings.key}"},
            )
        except httpx.HTTPError as error:
            raise TransportError(f"the kit cannot be reached ({type(error).__name__})") from None
        return fate(answer.status_code, self._settings)

    def _move(self, created: Created) -> None:
        # Copied before it is deleted: a crash between the two leaves two objects, not none.
        self._s3.copy_object(
            Bucket=self._settings.quarantine,
            Key=f"{created.bucket}/{created.key}",
            CopySource={"Bucket": created.bucket, "Key": created.key},
        )
        self._s3.delete_object(Bucket=created.bucket, Key=created.key)
        _log.info("object_quarantined")

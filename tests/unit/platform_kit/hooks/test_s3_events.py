"""What buckets announce, what becomes of objects, and a queue that loses nothing."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from unspread.errors import TransportError
from unspread.platform_kit.hooks.s3_events import (
    Consumer,
    Created,
    Fate,
    NotAnEventError,
    S3Settings,
    created_in,
    fate,
)

SETTINGS = S3Settings("queue", "http://kit", "uk_key", "quarantine")


def event(key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """As "Event message structure" in Amazon S3's user guide shows it, shortened."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "eventName": name,
                "s3": {"bucket": {"name": "uploads"}, "object": {"key": key, "size": 1024}},
            }
        ]
    }


HAPPY_FACE = Created("uploads", "red flower.jpg")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(event("red+flower.jpg"), id="S3"),
        pytest.param(event("red%20flower.jpg", "s3:ObjectCreated:Put"), id="MinIO"),
        pytest.param(
            {"Type": "Notification", "Message": json.dumps(event("red+flower.jpg"))}, id="SNS"
        ),
        pytest.param(
            {
                "detail-type": "Object Created",
                "detail": {"bucket": {"name": "uploads"}, "object": {"key": "red flower.jpg"}},
            },
            id="EventBridge",
        ),
    ],
)
def test_every_form_of_announcement_names_the_object(message: dict[str, Any]) -> None:
    assert created_in(json.dumps(message)) == [HAPPY_FACE]


@pytest.mark.parametrize(
    "message",
    [
        event("x", "ObjectRemoved:Delete"),
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "uploads"},
        {"detail-type": "Object Deleted", "detail": {}},
        {"Records": []},
    ],
)
def test_other_announcements_name_none(message: dict[str, Any]) -> None:
    assert created_in(json.dumps(message)) == []


@pytest.mark.parametrize(
    "body",
    ["", "[]", "1", "{}", '{"Records": 1}', '{"Records": [{}]}', '{"Records": [{"eventName": 1}]}',
     '{"Type": "Notification", "Message": "x"}', '{"detail-type": "Object Created"}'],
)  # fmt: skip
def test_anything_else_is_no_announcement(body: str) -> None:
    with pytest.raises(NotAnEventError):
        created_in(body)


@pytest.mark.parametrize(
    ("status", "unreadable", "becomes"),
    [
        (200, False, Fate.KEEP),
        (202, False, Fate.KEEP),
        (406, False, Fate.QUARANTINE),
        (409, False, Fate.QUARANTINE),
        (422, False, Fate.KEEP),
        (422, True, Fate.QUARANTINE),
    ],
)
def test_a_decision_is_the_objects_fate(status: int, unreadable: bool, becomes: Fate) -> None:
    settings = S3Settings("q", "k", "uk_key", "quarantine", unreadable)
    assert fate(status, settings) is becomes


@pytest.mark.parametrize("status", [301, 401, 403, 413, 429, 500, 503])
def test_what_is_no_decision_is_tried_again(status: int) -> None:
    with pytest.raises(TransportError):
        fate(status, SETTINGS)


@pytest.fixture
def aws() -> Iterator[str]:
    """Amazon's protocols, spoken by moto on this machine."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.long
def test_objects_that_match_are_moved_away_and_no_announcement_is_lost(aws: str) -> None:
    import boto3

    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "eu-west-1"}
    sqs, s3 = (boto3.client(name, endpoint_url=aws, **keys) for name in ("sqs", "s3"))
    place = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    for bucket in ("uploads", "quarantine"):
        s3.create_bucket(Bucket=bucket, **place)
    queue = sqs.create_queue(QueueName="new", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    for key in ("bad one.jpg", "good.jpg"):
        s3.put_object(Bucket="uploads", Key=key, Body=key.encode())
    for key in ("bad+one.jpg", "good.jpg", "gone.jpg"):
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(event(key)))
    sqs.send_message(QueueUrl=queue, MessageBody="not an event")
    answers = {b"bad one.jpg": 406, b"good.jpg": 200}
    away = threading.Event()
    away.set()

    def kit(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer uk_key"
        return httpx.Response(503 if away.is_set() else answers[request.read()])

    def left() -> list[str]:
        found = s3.list_objects_v2(Bucket="uploads").get("Contents", [])
        return [each["Key"] for each in found]

    settings = S3Settings(queue, "http://kit", "uk_key", "quarantine")
    with httpx.Client(transport=httpx.MockTransport(kit)) as http:
        consumer = Consumer(settings, sqs, s3, http)
        for _ in range(5):
            consumer.once()
        assert left() == ["bad one.jpg", "good.jpg"]
        away.clear()
        for _ in range(5):
            consumer.once()
    assert left() == ["good.jpg"]
    moved = s3.get_object(Bucket="quarantine", Key="uploads/bad one.jpg")
    assert moved["Body"].read() == b"bad one.jpg"
    assert consumer.once() == 0

"""The schema, for SQLite and PostgreSQL alike. Hot writes are plain SQL in `store`.

Times are whole seconds since 1970 in UTC (`…_at`) and days since 1970 (`…_day`), so that both
databases, the writer and the pages read the same numbers. No column holds an address, a file name
or anything else that names a person.
"""

from django.db import models


class Case(models.Model):
    """What one person submitted, without the person."""

    case_key = models.BinaryField(max_length=32, unique=True)
    content_digest = models.BinaryField(max_length=32)
    """SHA-256 of what was submitted: the same again gets the same answer."""
    age = models.CharField(max_length=8)
    submitted_day = models.IntegerField()
    expires_day = models.IntegerField(db_index=True)
    promised_at = models.BigIntegerField()

    class Meta:
        db_table = "case_record"


class Item(models.Model):
    """One picture or video. `fingerprints` and `salt` are emptied when it is erased."""

    case = models.ForeignKey(Case, models.CASCADE)
    number = models.IntegerField()
    item_key = models.BinaryField(max_length=32, unique=True)
    salt = models.BinaryField(max_length=16)
    media = models.CharField(max_length=8)
    state = models.CharField(max_length=12)
    level = models.CharField(max_length=14)
    reasons = models.CharField(max_length=200, default="")
    """Words of `rules.HeldReason`, joined by spaces."""
    commitment = models.BinaryField(max_length=32)
    listing_id = models.BigIntegerField(null=True, unique=True)
    fingerprints = models.BinaryField()
    """As `store.pack` writes them."""
    withdrawal_signature = models.BinaryField(max_length=64, default=b"")
    listed_at = models.BigIntegerField(default=0)
    """Second of its arrival: the hour that its ADD entry shows."""
    revision = models.BigIntegerField(default=0)
    """Position of its newest log entry + 1: strictly increasing in commit order; 0: none yet."""
    changed_at = models.BigIntegerField(default=0)
    """Second of that entry's commit; never decreases as `revision` grows."""
    suspended_because = models.CharField(max_length=24, default="")
    """Word of `rules.SuspendedBecause`."""
    asked_because = models.CharField(max_length=24, db_default="")
    """The same word, of a listing that staff are asked to look at while it goes on matching."""
    upheld_through = models.BigIntegerField(db_default=0)
    """Feedback numbered lower was there when staff upheld the listing; 0: they never did."""
    vouched_by = models.CharField(max_length=40, default="")
    """The helpline that vouches."""
    erased = models.BooleanField(default=False)

    class Meta:
        db_table = "item"
        indexes = (
            models.Index(fields=["state", "level"], name="item_by_state"),
            models.Index(fields=["changed_at", "revision"], name="item_by_change"),
            models.Index(fields=["revision"], name="item_by_revision"),
        )


class LogEntry(models.Model):
    """One entry of the log, at its position once and for all; only erasure changes the payload."""

    position = models.BigIntegerField(primary_key=True)
    kind = models.SmallIntegerField()
    """Number of `feed.records.EntryKind`."""
    payload = models.BinaryField()
    listing_id = models.BigIntegerField(default=-1, db_index=True)
    """The listing it adds or changes; -1 for other entries."""
    committed_at = models.BigIntegerField()

    class Meta:
        db_table = "log_entry"


class PendingErasure(models.Model):
    """An entry whose payload is gone here, and perhaps not yet from published segments."""

    position = models.BigIntegerField(primary_key=True)

    class Meta:
        db_table = "pending_erasure"


class PendingTombstone(models.Model):
    """A withdrawn listing's values alone, for legacy programmes whose withdrawals must name them;
    erased after 30 days at most. Written only while such a partner is active."""

    listing_id = models.BigIntegerField(primary_key=True)
    media = models.CharField(max_length=8)
    fingerprints = models.BinaryField()
    erase_at = models.BigIntegerField(db_index=True)

    class Meta:
        db_table = "pending_tombstone"


class Partner(models.Model):
    """A platform or helpline that takes part."""

    partner_id = models.CharField(max_length=40, primary_key=True)
    name = models.CharField(max_length=120)
    role = models.CharField(max_length=12, default="platform")
    """`platform` or `helpline`."""
    state = models.CharField(max_length=12)
    """`invited`, `enrolled`, `active`, `suspended`."""
    scopes = models.CharField(max_length=200, default="feed feedback")
    invitation_digest = models.BinaryField(max_length=32, default=b"")
    invitation_expires_at = models.BigIntegerField(default=0)
    signing_key = models.BinaryField(max_length=32, default=b"")
    sealing_key = models.BinaryField(default=b"")
    """`crypto.OpeningKey.public`."""
    next_signing_key = models.BinaryField(max_length=32, default=b"")
    created_at = models.BigIntegerField()
    last_heard_at = models.BigIntegerField(default=0)
    applied_size = models.BigIntegerField(default=0)
    logged_size = models.BigIntegerField(default=0)
    """The size that its last acknowledgement in the log names."""
    feed_scope = models.CharField(max_length=1000, db_default="")
    """`feed.sealing.Scope.to_text()`; empty: everything."""

    class Meta:
        db_table = "partner"


class LoggedPolicy(models.Model):
    """The newest digest in the log of each document that the clearinghouse goes by."""

    label = models.CharField(max_length=64, primary_key=True)
    digest = models.BinaryField(max_length=32)

    class Meta:
        db_table = "logged_policy"


class CanaryEpoch(models.Model):
    """An epoch of canaries; its seed follows from `keys/canaries.key` and its number."""

    epoch = models.BigIntegerField(primary_key=True)
    """The second at which it began."""
    count = models.IntegerField()
    position = models.BigIntegerField()
    """Of the entry that commits to its seed."""
    spread_seconds = models.BigIntegerField()
    """Within so long its canaries are listed, one after the other."""
    revealed_at = models.BigIntegerField(default=0)

    class Meta:
        db_table = "canary_epoch"


class Canary(models.Model):
    """Which entry of the log is which canary."""

    position = models.BigIntegerField(primary_key=True)
    epoch = models.BigIntegerField()
    number = models.IntegerField()

    class Meta:
        db_table = "canary"
        constraints = (
            models.UniqueConstraint(fields=["epoch", "number"], name="canary_listed_once"),
        )


class PartnerApproval(models.Model):
    """One member of staff's yes to one partner's keys."""

    partner = models.ForeignKey(Partner, models.CASCADE)
    given_by = models.CharField(max_length=60)
    keys_digest = models.BinaryField(max_length=32)
    at = models.BigIntegerField()

    class Meta:
        db_table = "partner_approval"
        constraints = (
            models.UniqueConstraint(
                fields=["partner", "given_by", "keys_digest"], name="one_approval_each"
            ),
        )


class PartnerKey(models.Model):
    """A static key of a legacy programme's wire format: hashed, scoped, revocable."""

    key_id = models.CharField(max_length=24, primary_key=True)
    partner = models.ForeignKey(Partner, models.CASCADE)
    key_digest = models.BinaryField(max_length=32, unique=True)
    scope = models.CharField(max_length=200)
    """Programme and scope: `ncmec:read feedback ages=minor`, `stopncii-subscription:` …"""
    created_at = models.BigIntegerField()
    last_used_day = models.IntegerField(default=0)
    revoked_at = models.BigIntegerField(default=0)

    class Meta:
        db_table = "partner_key"


class KeyGrant(models.Model):
    """Keys that two members allowed and their partner has not collected yet."""

    code_digest = models.BinaryField(max_length=32, primary_key=True)
    partner = models.ForeignKey(Partner, models.CASCADE)
    scope = models.CharField(max_length=200)
    """As of `PartnerKey`."""
    replaces = models.CharField(max_length=24, default="")
    """The key that ends some days after these are collected; empty: none."""
    expires_at = models.BigIntegerField()

    class Meta:
        db_table = "key_grant"


class ExchangeValue(models.Model):
    """Which listings have a value, for programmes whose lists are keyed by it. Holds no value."""

    listing_id = models.BigIntegerField(db_index=True)
    number = models.SmallIntegerField()
    """0 the whole picture, 1.. its windows, -1 the digest of the file."""
    tag = models.BigIntegerField(null=True, db_index=True)
    """64 bits of a keyed digest of the value; null once the listing is erased."""

    class Meta:
        db_table = "exchange_value"


class FeedbackRecord(models.Model):
    """What a partner said about a listing, once."""

    partner = models.ForeignKey(Partner, models.CASCADE)
    external_id = models.CharField(max_length=80)
    listing_id = models.BigIntegerField(db_index=True)
    kind = models.CharField(max_length=10)
    at = models.BigIntegerField()
    count = models.IntegerField(default=1)
    reason = models.CharField(max_length=30, default="")
    accounts = models.IntegerField(db_default=0)
    oldest_day = models.IntegerField(default=0)
    received_at = models.BigIntegerField()
    settled = models.BooleanField(default=False)
    """Answered by a review: it counts no more in the rules."""

    class Meta:
        db_table = "feedback"
        constraints = (
            models.UniqueConstraint(fields=["partner", "external_id"], name="feedback_once"),
        )


class Acknowledgement(models.Model):
    """A partner's signed word that it applied the log up to `size`."""

    partner = models.ForeignKey(Partner, models.CASCADE)
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=32)
    at = models.BigIntegerField()

    class Meta:
        db_table = "acknowledgement"
        constraints = (
            models.UniqueConstraint(fields=["partner", "size"], name="acknowledged_once"),
        )


class DailyCount(models.Model):
    """How often something happened on a day; the transparency report and the plots."""

    day = models.IntegerField()
    name = models.CharField(max_length=60)
    count = models.BigIntegerField()

    class Meta:
        db_table = "daily_count"
        constraints = (models.UniqueConstraint(fields=["day", "name"], name="one_count_a_day"),)


class AuditEvent(models.Model):
    """What staff did; appended, never changed, each chained to the one before."""

    at = models.BigIntegerField()
    actor = models.CharField(max_length=60)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=120)
    detail = models.CharField(max_length=400, default="")
    digest = models.BinaryField(max_length=32)

    class Meta:
        db_table = "audit_event"


class StaffMember(models.Model):
    """Somebody who works at the clearinghouse, with one role, known by passkeys alone."""

    name = models.CharField(max_length=60, unique=True)
    role = models.CharField(max_length=12)
    """Word of `staff.members.Role`."""
    is_active = models.BooleanField(default=True)
    invitation_digest = models.BinaryField(max_length=32, default=b"")
    invitation_expires_at = models.BigIntegerField(default=0)
    created_at = models.BigIntegerField()

    class Meta:
        db_table = "staff_member"


class Passkey(models.Model):
    """A member's passkey: its public half."""

    member = models.ForeignKey(StaffMember, models.CASCADE)
    credential_id = models.BinaryField(max_length=1023, unique=True)
    public_key = models.BinaryField(max_length=1024)
    sign_count = models.BigIntegerField(default=0)
    created_at = models.BigIntegerField()

    class Meta:
        db_table = "passkey"


class Proposal(models.Model):
    """What one member proposes and another decides: everything that affects matching."""

    kind = models.CharField(max_length=24)
    """Word of `staff.proposals.Kind`."""
    subject = models.CharField(max_length=60)
    detail = models.CharField(max_length=400, default="")
    terms = models.CharField(max_length=1000, db_default="")
    """Of a partner's scope or key: what it would get, in its canonical form."""
    proposed_by = models.CharField(max_length=60)
    proposed_at = models.BigIntegerField()
    decided_by = models.CharField(max_length=60, default="")
    decided_at = models.BigIntegerField(default=0)
    outcome = models.CharField(max_length=12, default="")
    """`done` or `declined`; empty while it waits."""

    class Meta:
        db_table = "proposal"


class Switch(models.Model):
    """Something that is on or off for everybody: `intake_paused`."""

    name = models.CharField(max_length=40, primary_key=True)
    is_on = models.BooleanField()

    class Meta:
        db_table = "switch"

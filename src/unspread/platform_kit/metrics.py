"""Prometheus metrics. Labels are names of lists, levels and outcomes: never of content."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BITS = (0, 4, 8, 12, 16, 20, 24, 28, 31)


class Metrics:
    """The kit's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        every = self.registry
        self.scans = Counter(
            "unspread_scans", "Uploads scanned, by decision.", ["decision"], registry=every
        )
        self.scan_seconds = Histogram(
            "unspread_scan_seconds", "From bytes to fingerprints.", buckets=_SECONDS, registry=every
        )
        self.lookups = Counter("unspread_lookups", "Fingerprints looked up.", registry=every)
        self.matches = Counter(
            "unspread_matches",
            "Listings matched, by list, level and kind.",
            ["list", "level", "kind"],
            registry=every,
        )
        self.distances = Histogram(
            "unspread_match_distance_bits",
            "Distance of pdq matches.",
            ["list"],
            buckets=_BITS,
            registry=every,
        )
        self.fail_open = Counter(
            "unspread_fail_open",
            "Uploads accepted without a check, by cause.",
            ["cause"],
            registry=every,
        )
        self.remembered = Counter(
            "unspread_remembered", "Entries written to the catalogue.", registry=every
        )
        self.actions = Counter(
            "unspread_actions", "Actions queued, by kind.", ["response"], registry=every
        )
        self.bank_rows = Gauge(
            "unspread_bank_rows", "Rows that uploads are matched against.", registry=every
        )
        self.match_kernel = Gauge(
            "unspread_match_kernel", "1 for the kernel in use.", ["kernel"], registry=every
        )
        self.index_waiting = Gauge(
            "unspread_index_waiting", "Rows not yet in tables.", registry=every
        )
        self.index_removed = Gauge(
            "unspread_index_removed", "Rows removed and not yet cleared.", registry=every
        )
        self.index_memory = Gauge(
            "unspread_index_memory_bytes", "What the index takes.", registry=every
        )
        self.list_size = Gauge(
            "unspread_list_size", "Log entries applied, by list.", ["list"], registry=every
        )
        self.list_checked = Gauge(
            "unspread_list_checked_timestamp_seconds",
            "When a list was last current.",
            ["list"],
            registry=every,
        )
        self.list_stale = Gauge(
            "unspread_list_stale", "1 if the list is out of date.", ["list"], registry=every
        )
        self.sync_failures = Counter(
            "unspread_sync_failures",
            "Failed attempts to follow a list, by kind.",
            ["list", "kind"],
            registry=every,
        )
        self.skipped_records = Counter(
            "unspread_skipped_records",
            "Entries of a list that could not be read.",
            ["list"],
            registry=every,
        )
        self.actions_waiting = Gauge(
            "unspread_actions_waiting", "Actions not yet delivered.", registry=every
        )
        self.oldest_action = Gauge(
            "unspread_oldest_action_seconds",
            "Age of the oldest action not delivered.",
            registry=every,
        )
        self.actions_dead = Gauge(
            "unspread_actions_dead", "Actions given up, for a person to look at.", registry=every
        )
        self.reviews_waiting = Gauge(
            "unspread_reviews_waiting", "Content held for a person to look at.", registry=every
        )
        self.notices_waiting = Gauge(
            "unspread_notices_waiting", "Notices whose clock runs.", registry=every
        )
        self.notice_seconds_left = Gauge(
            "unspread_notice_seconds_left",
            "Least that is left of any notice's 48 hours; 172800 when none runs.",
            registry=every,
        )
        self.feedback_waiting = Gauge(
            "unspread_feedback_waiting", "Feedback not yet sent.", registry=every
        )

    def to_text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

"""`make bench ARGS=recall_videos`: see `benchmarks.recall.videos`."""

from benchmarks.recall.videos import run

__all__ = ["run"]

"""Carrying decisions out: signed webhooks, commands, moves to quarantine, queue messages."""

"""The append-only log, in C2SP's formats."""

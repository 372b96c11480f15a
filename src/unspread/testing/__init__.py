"""Stand-ins shipped for our tests and for platforms' own."""

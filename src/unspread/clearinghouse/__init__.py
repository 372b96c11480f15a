"""The service that a non-profit runs."""

"""Signed requests under a law, with a deadline. Never mixed with anonymous cases."""

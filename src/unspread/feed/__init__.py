"""The signed stream of listings and withdrawals."""

"""A clearinghouse and a sample platform on one machine, in training mode."""

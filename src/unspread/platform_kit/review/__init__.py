"""People decide on what is held: nothing shown by default, nothing twice, limits for all."""

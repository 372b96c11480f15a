"""Stop an intimate picture from spreading without anyone ever seeing it."""

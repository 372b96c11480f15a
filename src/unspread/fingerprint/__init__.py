"""Media in, fingerprints out."""

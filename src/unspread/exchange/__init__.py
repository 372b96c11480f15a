"""To and from other hash-sharing programmes, one module each."""

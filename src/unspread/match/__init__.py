"""Every listed fingerprint within a radius, exactly."""

"""Settings that mean the same train the same."""

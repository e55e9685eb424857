"""The order of rounds."""

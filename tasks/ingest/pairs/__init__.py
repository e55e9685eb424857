"""Takes in preference pairs of others."""

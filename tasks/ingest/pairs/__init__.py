"""Takes in preference pairs that somebody else made."""

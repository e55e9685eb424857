"""Takes in hypotheses that somebody else made."""

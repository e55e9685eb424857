"""Takes in hypotheses of others."""

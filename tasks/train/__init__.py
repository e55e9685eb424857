"""Training: the loop that every training stage shares, and one recipe for each of them."""

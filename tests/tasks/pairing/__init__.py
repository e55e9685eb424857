"""How pairs are chosen."""

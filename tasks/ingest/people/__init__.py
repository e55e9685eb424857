"""The people that a source speaks of: boxes, key-points and labels, and what can be wrong with them."""

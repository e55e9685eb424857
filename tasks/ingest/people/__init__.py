"""The people of a source: boxes, key-points and labels, and what can be wrong with them."""

"""What a round is decided by: gates, a judge where nobody has labels, and what a protocol says beside them."""

"""What serves maintainers alone: the body, README's pictures, the tree."""

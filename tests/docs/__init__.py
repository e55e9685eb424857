"""The pages say what is there, and their recipes work."""

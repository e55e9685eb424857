"""A study as somebody asks for it: a preset or a file, and what it starts from for each seed."""

"""Judging pairs in the browser: the only pages that write, and all that they write are rows of `reviews`."""

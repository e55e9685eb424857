"""Text from data on its way to a terminal: control characters are shown, and never obeyed.

Names of files, ids, reasons and answers to SQL may hold anything, also the sequences by which a terminal changes its
title, its clipboard or what it shows already.
"""

import re

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, ends of lines, and what is no character at all."""


def visible(text: str, keep: str = "") -> str:
    r"""A text with its control characters as they would be written in Python, such as \x1b; but not those of `keep`."""
    return _UNSEEN.sub(lambda match: match[0] if match[0] in keep else ascii(match[0])[1:-1], text)

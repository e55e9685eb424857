"""Files, folders and URLs that somebody else wrote: what they are, and how they are read with bounded memory."""

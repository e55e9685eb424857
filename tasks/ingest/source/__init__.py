"""Files, folders and URLs of others: what they are, and how they are read with bounded memory."""

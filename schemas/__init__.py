"""The contracts between all rooms: configurations, tables, names, digests, errors. No code of ours below them."""

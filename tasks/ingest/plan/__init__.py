"""The plan of an ingest: what it takes, cut into files that workers read one at a time."""

"""The formats that annotations come in: one module each, with a class that is a `tasks.ingest.people.annotations.Reader`."""

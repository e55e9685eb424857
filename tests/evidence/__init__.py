"""The figures of docs/evidence.md: `make evidence`."""

"""What a run says while it works: bars, plain lines, Prefect's artifacts."""

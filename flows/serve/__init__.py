"""What `make serve` keeps running: a Prefect server, a worker and Ray."""

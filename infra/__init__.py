"""The ground: Delta tables, DuckDB views, files, the Ray session. Knows nothing of bodies or diffusion."""

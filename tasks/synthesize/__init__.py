"""Synthetic people for the embedded default: three domains of pictures that the project makes itself."""

"""Pretraining: an image encoder trained once, on synthetic people of its own, for campaigns to start from."""

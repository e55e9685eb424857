"""Against outputs of the published code: `make parity`."""

"""The paper's pipeline at its own sizes: `make paper-smoke`."""

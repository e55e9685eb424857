"""Wrong lines in the science and the protocol, each against the tests that must notice it: `make mutants`."""

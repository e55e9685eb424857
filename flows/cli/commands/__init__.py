"""The commands, a function each; `flows.cli.main` has the table of them."""

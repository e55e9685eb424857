"""The command line `adhmr`."""

"""A command as a process: supervised, quiet, its errors in one line."""

"""How the answers of the commands look."""

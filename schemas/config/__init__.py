"""Every configuration field, with description, unit and limits."""

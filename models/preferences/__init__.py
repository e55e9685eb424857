"""How a policy learns from preferences: an objective a module, and the table of them."""

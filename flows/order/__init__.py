"""Which stages a round is made of, in their order: what flows hand to a runner, and plans go through."""

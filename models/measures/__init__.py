"""What many hypotheses of a person are worth together, and where on a body errors lie: arrays in, a number a person."""

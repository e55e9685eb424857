"""What else the pairs, or the scorer's knowledge, could have been used for: controls of what a round gains."""

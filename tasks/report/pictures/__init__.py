"""The pictures of a round: its own people, held-out ones, winners and losers, over the photographs that they are of."""

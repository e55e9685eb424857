"""Reviews at work: what people said of pairs becomes pairs to train on, figures of agreement, and lists of work."""

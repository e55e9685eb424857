"""What stages are and how they are run: shard by shard, in one go, or as a training."""

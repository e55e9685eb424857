"""A run of a flow: its configuration, lease, round and gates, and the runners that stages are handed to."""

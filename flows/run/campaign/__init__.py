"""A campaign as its file says it: the settings, the people, and what a round began with."""

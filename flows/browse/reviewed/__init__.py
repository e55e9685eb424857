"""Reviews as pages need them: what is said of pairs until now, and which ones somebody is to judge."""

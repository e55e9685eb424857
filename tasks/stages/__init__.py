"""Every stage of the picture: what decides its key, what it reads and writes; its work is imported where it is done."""

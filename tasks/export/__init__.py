"""Out again: pairs and labels in the forms that others read."""

"""What pages in a browser are made of: scripts and styles that the report and `adhmr browse` share."""

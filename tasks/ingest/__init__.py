"""Folders of pictures become rows: pictures, the people in them with their crops, and labels where there are any."""

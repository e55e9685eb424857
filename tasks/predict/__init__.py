"""Predictions: the bodies of people in a folder of pictures, in the forms that others read."""

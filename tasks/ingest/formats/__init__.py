"""The formats that annotations come in: one module each, with a class that is an `annotations.Reader`."""

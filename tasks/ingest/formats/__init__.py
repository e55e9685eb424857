"""The formats that annotations come in: a folder each, whose FORMAT says what it is and which class reads it."""

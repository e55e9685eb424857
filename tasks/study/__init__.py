"""What a study says: its numbers as a table, a page, a document for programs, and figures."""

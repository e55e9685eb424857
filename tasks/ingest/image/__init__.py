"""Pictures: read whatever their kind, cropped, and compared across splits."""

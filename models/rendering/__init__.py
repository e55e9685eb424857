"""Pictures of meshes, on arrays alone: a z-buffer, a simple light, and overlays for reports.

Pixel convention of the whole project: coordinates are continuous, pixel (row, column) covers [column, column + 1) ×
[row, row + 1) and is sampled at its centre, so the left edge of a picture is x = 0 and the right one x = width.
"""

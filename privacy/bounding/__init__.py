"""Bounds on what one unit can move a sum by: clipping, rotating, rounding."""

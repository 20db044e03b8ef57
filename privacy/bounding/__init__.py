"""What one unit can move a sum by: clipping, rotating, rounding, and their bounds."""

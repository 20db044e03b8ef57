"""The sum in the clear."""

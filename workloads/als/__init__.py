"""A recommender by alternating least squares."""

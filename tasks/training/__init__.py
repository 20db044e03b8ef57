"""Local training, with and without differential privacy. Loads torch."""

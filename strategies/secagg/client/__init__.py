"""The client's role, and what it refuses."""

"""The server's role, and how it opens a sum."""

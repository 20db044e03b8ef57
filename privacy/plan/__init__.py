"""What a private run promises, in public numbers."""

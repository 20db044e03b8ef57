"""The public numbers of a private run and its releases."""

"""Ratings of a public list of items, in long form: a row for each user and item."""

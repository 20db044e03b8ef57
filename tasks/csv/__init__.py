"""Tables in CSV files, described by a schema."""

"""Security mutations of the code, and the tests that must notice each: `make mutants`."""

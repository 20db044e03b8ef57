"""Workloads of histograms: what is summed are entries for each bin of a table's columns."""

"""Workloads of trees: what is summed are histograms in their nodes, or sums in their leaves."""

"""Regressions and summaries as statisticians publish them, from sums over records."""

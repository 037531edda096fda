"""Documents and charts made of benchmarks/results: see table.py."""

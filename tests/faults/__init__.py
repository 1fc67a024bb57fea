"""Faults made on purpose, each kind in a module with one harness, and how each of them ended.

Trials are seeded: the number of a trial makes the same fault again, but for the moment of a kill.
The tests do a few of every kind; `benchmarks/reliability.py` does thousands.
"""

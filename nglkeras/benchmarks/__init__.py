"""Benchmarks: ratios of interleaved runs in one process, with where and when they were measured.

A time by itself says more of a machine and its other work than of a program. So what is compared
takes turns, each round gives a ratio, and the median over the rounds is what counts.
"""

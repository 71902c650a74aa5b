"""The same scenarios on several kernels: each in a guest of its own, some at a time, and one table of what they came to.

names ── boots ──> a Run for each kernel ── verdicts (pure) ──> table, differences ── tell, page ──> terminal, JSON, JUnit, HTML
"""

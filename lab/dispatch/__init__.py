"""Checks whose kernel features lack here go to one guest that has them; their results come back as if made here.

checks ── sorter ──> those that lack something ── choose ──> a fetched kernel ── send ──> results
                                                    └─ features: what a guest's kernel has, found once by trying
"""

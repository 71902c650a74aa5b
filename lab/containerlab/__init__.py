"""Topology files of containerlab (containerlab.dev, "Topology definition"): they become plain data of our own language.

    Source ── variables ──> text ── YAML 1.2 ──> placed data ── levels, nodes, links ──> Document, problems, notes

Between the text stage and the model: what comes out knows its places in the user's own file, so that whatever a later stage
finds wrong is told there. What we do not cover is told as a problem where an experiment would see the difference, and as a
note where it would not. Jinja2 is not applied to these files.

Others call `recognise.is_containerlab` and `load.load`.
"""

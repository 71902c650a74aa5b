"""A topology, or a living lab, as a picture: values first (`picture`), then Mermaid's text or Graphviz's and its SVG."""

"""A report's pictures for papers, as SVG and PDF; matplotlib is imported when one is drawn."""

"""Records in, one page out. The only home of plotly."""

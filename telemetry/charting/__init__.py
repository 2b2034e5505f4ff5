"""Series for charts."""

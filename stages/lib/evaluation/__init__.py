"""Base against tuned: replies, scores, comparison, tables, a picture."""

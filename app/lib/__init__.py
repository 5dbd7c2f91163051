"""Small tools that import nothing of Scopegate."""

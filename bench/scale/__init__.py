"""A million tokens and ten million events beside a small organisation of the same shape: what costs as much on both."""

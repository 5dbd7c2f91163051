"""What else has a target: a second worker, issuing tokens, lists over many rows, cuts, and memory."""

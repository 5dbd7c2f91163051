"""Reads for decisions: the access snapshot, credentials, policies, explanations."""

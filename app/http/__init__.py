"""Shared parts of all HTTP interfaces: transactions, authorization, problems, pagination."""

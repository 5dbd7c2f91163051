"""Writes for calls: the durable record that lets an admitted call run (ADR 3)."""

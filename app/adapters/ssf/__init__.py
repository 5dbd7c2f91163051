"""Shared Signals (SSF 1.0, CAEP 1.0, RISC 1.0): what transmitters tell of people, and what we do then."""

"""The tables, by subject. Constraints are named by the convention of ``base``, which is set before any is made."""

from app.models import base

__all__ = ["base"]

"""The tables, by subject. ``base`` sets the naming convention of constraints before any table is defined."""

from app.models import base

__all__ = ["base"]

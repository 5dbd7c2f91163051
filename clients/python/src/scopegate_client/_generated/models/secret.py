from ...secret import Secret

__all__ = ["Secret"]

"""What is left of a link when its person is erased: enough to know them again and keep them out.

A leaver may hold a provider's token that is still good. Without a link it would be a stranger's, and who has a role
in it would come back as a new person. So the value stays as a digest. The digest has no key: keys are
rotated, and with a key that is gone the leaver would be let in.
"""

import hashlib


def erased_link(kind: str, value: str) -> str:
    """What stands in place of a value once its identity is erased."""
    return "erased:" + hashlib.sha256(f"scopegate link {kind} {value}".encode()).hexdigest()

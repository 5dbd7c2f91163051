"""Pages for people: signing in with a browser, and deciding approvals. They work without JavaScript, and have none.

See ADR 20.
"""

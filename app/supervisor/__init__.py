"""The supervisor: runs the commands of a host's stdio servers, and speaks streamable HTTP for them on a Unix socket.

A process of its own, a child of ``scopegate serve``. It knows no feature and no database: each request tells which
command it means, what that command is given, and on whose behalf. See ADR 11.
"""

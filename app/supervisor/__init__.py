"""The supervisor: runs the commands of stdio servers, and serves them as streamable HTTP on a Unix socket.

A separate process, a child of ``scopegate serve``. It knows no feature and no database: each request contains the
command, its environment and the token that it is for. See ADR 11.
"""

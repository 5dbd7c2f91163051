"""OAuth 2.0 at the control plane: the token endpoint of service accounts, and who a bearer belongs to."""

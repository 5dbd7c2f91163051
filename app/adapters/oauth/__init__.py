"""OAuth 2.0 at the control plane: the token endpoint for service accounts, and authentication of bearers."""

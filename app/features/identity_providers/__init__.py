"""Identity providers: issuers of accepted access tokens, and the meaning of their claims."""

"""What requests and answers look like in both eras of the protocol, before and after anything is decided."""

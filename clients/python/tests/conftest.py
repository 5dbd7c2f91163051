"""What the tests of the client share: a service that answers as it is told to."""

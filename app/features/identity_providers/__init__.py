"""Identity providers: whose access tokens open the API, and how their claims name people, roles and programs."""

"""The console: server-rendered pages for people, which work without JavaScript (ADR 20)."""

"""The database: engine, connections, versions, outbox, migrations."""

"""How alembic runs the scripts in versions/: on the connection that dayfly.store.db.migrate hands it, and in no other
way.

A released script is never edited: the next one follows it. A new one is written by hand, or drafted with
`alembic.command.revision(dayfly.store.db.migrate.configuration(connection), "what it does", autogenerate=True)`;
a test compares what the scripts make with dayfly.store.db.tables.
"""

from __future__ import annotations

from alembic import context

from dayfly.store.db.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations run on a connection: see dayfly.store.db.migrate")

context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()

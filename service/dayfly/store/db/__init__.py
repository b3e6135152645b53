"""The database below the store: connections, tables, types, mapping of rows, migrations. Not here: any resource."""

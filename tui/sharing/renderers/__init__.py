"""Five renderers of `engine.tables.Table`; none of them knows what a table is about."""

"""Five ways to show an `engine.tables.Table`; none of them knows what it is about."""

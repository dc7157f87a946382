"""The widgets and helpers from which views are built."""

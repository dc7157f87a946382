"""The user's actions and their keys: the registry, and one function per action, which is called
with the app."""

"""The state behind the screen, independent of Textual."""

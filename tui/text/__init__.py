"""Untrusted text and numbers made safe and readable, and the glossary."""

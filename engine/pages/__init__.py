"""HTML from records: a session as one page to send, a run as a table in a notebook."""

"""The application, in rooms: what its keys do to the state, and the state to the panes."""

"""The slow line: what the terminal shows is known cell by cell, and only what changes is sent.

Textual composes a frame (`CompositorUpdate`) and hands it to its driver, which writes all of it.
Here a `Grid` holds two pictures of the terminal: the cells that Textual composed, and the cells
that the terminal shows. A patch takes the terminal from the second to the first with as few bytes
as can be: unchanged cells are jumped over, and colours and attributes are sent only where they
change.
"""

"""How the bundled model was made: render, train, evaluate (``python -m samples.making``)."""

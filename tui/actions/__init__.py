"""What the user can do, and the keys that do it: the registry, and a function for each action. A
function is called with the app."""

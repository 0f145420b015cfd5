// A function without a body needs an assembly file beside it, even an empty one.

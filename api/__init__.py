"""The outermost layer: HTTP, the command line and the all-in-one server, where all the other parts are put together."""

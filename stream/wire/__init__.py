"""Messages between nodes: codec, publisher and subscriber, commands and acks. Only this package knows ZeroMQ."""

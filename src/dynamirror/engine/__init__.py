"""The loops: reading a stream, applying its changes, copying, comparing. All on ports alone."""

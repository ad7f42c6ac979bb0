"""The service: its endpoint and its lifecycle above, a room each for what they need below."""

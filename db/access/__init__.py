"""How the store is reached: addresses, sessions, both drivers."""

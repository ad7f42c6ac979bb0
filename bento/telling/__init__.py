"""What people did, told to the service: taken into the store, and into what is known of places."""

"""The page that every run leaves in its model: plots, and the template that holds them."""

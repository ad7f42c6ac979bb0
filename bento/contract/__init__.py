"""What clients see: request, answer, errors, and the document that says so."""

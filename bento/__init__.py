"""The service: lifecycle, endpoint, request and answer models, error table, settings."""

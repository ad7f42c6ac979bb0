"""What touches processes and signals: reviewed at each upgrade of BentoML, circus or uvicorn."""

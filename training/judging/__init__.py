"""What a model is worth: metrics, validation while it learns, evaluation beside baselines, scores offline."""

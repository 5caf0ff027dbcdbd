"""HellaSwag's items and scores."""

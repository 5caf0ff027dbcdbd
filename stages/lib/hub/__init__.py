"""Files of models and data sets from a Hugging Face hub: which are needed, fetched once, resumed, hash checked."""

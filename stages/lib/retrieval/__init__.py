"""Retrieval: embedders, exact search, BM25, fusion, rerankers, measures and statistics."""

"""Documents of a user's files, PDFs among them, and the sources of documents by kind."""

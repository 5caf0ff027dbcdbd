"""The chat over your own PDFs: the page, the user's library, and the commands; what answers is in stages/lib."""

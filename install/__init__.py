"""Makes the environment: `make install`. Standard library alone, as it runs before anything is installed."""

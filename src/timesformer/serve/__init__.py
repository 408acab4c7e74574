"""The HTTP server: the page, the API, and what protects them."""

"""Generated datasets: motion clips, and videos played backwards."""

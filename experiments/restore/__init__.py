"""Images restored from noisy measurements of them, with trained runs as priors."""

"""The experiment of an autoencoder or a VAE."""

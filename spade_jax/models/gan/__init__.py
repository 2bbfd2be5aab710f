"""An unconditional GAN that may grow (Goodfellow et al. 2014; Karras et al. 2018)."""

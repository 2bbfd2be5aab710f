"""pix2pix (Isola et al. 2017)."""

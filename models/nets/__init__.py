"""Networks, in torch: only training and the torch runtime load them."""

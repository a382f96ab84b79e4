"""Training the networks that ship: data, targets, augmentation, losses, fitting (extra ``[train]``)."""

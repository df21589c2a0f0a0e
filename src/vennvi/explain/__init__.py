"""What a trained model found: sums over minibatches and arithmetic on them; the models gather the arrays."""

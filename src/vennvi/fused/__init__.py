"""Log-likelihoods of a minibatch and their gradients, together and in blocks.

A decoder of 20,000 peaks and two terms writes 5 million log-odds a minibatch. Left to automatic differentiation, each
operation on them writes as many numbers again, and keeps them until the backward pass. Here the gradient is computed
beside the value, while the block is in the cache, and no more than a block is ever held.
"""

from vennvi.fused._blockwise import blockwise_score
from vennvi.fused._elementwise import bernoulli, normal, poisson
from vennvi.fused._gradients import GradientRooms
from vennvi.fused._input_product import input_product, sums_of_rows, worth_sharing
from vennvi.fused._late import LateGradient, LateRows, late_gradients
from vennvi.fused._multiply import Multiply, NumpyMultiply, fastest_multiply, multiplication, multiplied_by
from vennvi.fused._negative_binomial import negative_binomial_score
from vennvi.fused._threads import in_threads, n_shares, n_threads, on_one_thread, others_at_hand

__all__ = [
    "GradientRooms",
    "LateGradient",
    "LateRows",
    "Multiply",
    "NumpyMultiply",
    "bernoulli",
    "blockwise_score",
    "fastest_multiply",
    "in_threads",
    "input_product",
    "late_gradients",
    "multiplication",
    "multiplied_by",
    "n_shares",
    "n_threads",
    "negative_binomial_score",
    "normal",
    "on_one_thread",
    "others_at_hand",
    "poisson",
    "sums_of_rows",
    "worth_sharing",
]

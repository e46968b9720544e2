"""The few array operations that networks are written in, on NumPy, JAX and TensorFlow: one definition, three engines.

NumPy predicts; JAX, or TensorFlow where there is no JAX, trains, on a GPU where it sees one. `@`, arithmetic and slices
are the same for all three; what they spell differently is here.
"""

from __future__ import annotations

import os
import warnings
from functools import lru_cache

import numpy as np

from l3embed.errors import MissingExtraError, UsageError

ENGINES = ("jax", "tensorflow")


class NumPy:
    """NumPy, or a module that spells arrays as it does."""

    def __init__(self, module=np):
        self.maximum, self.minimum, self.where = module.maximum, module.minimum, module.where
        self.exp, self.log, self.sqrt = module.exp, module.log, module.sqrt
        self.einsum, self.reshape = module.einsum, module.reshape

    @staticmethod
    def total(x, axis):
        return x.sum(axis=axis)

    @staticmethod
    def largest(x, axis):
        return x.max(axis=axis, keepdims=True)


class Jax(NumPy):
    """On a processor groups of networks are trained one after another inside one program, to keep them in its cache;
    on a GPU all together. A group that has stopped is skipped."""

    name = "jax"

    def __init__(self):
        import jax

        # joblib's processes start by a fork that becomes another program at once, which harms nobody's threads
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        super().__init__(jax.numpy)
        self.jax, self.on_gpu = jax, jax.default_backend() != "cpu"

    @staticmethod
    def gather(x, rows):
        return x[rows]

    def float(self, x):
        return x.astype("float32")

    def argmax(self, x):
        return x.argmax(axis=-1)

    def constant(self, x):
        return self.jax.numpy.array(x)

    def still(self, x):
        """x, through which no gradient flows."""
        return self.jax.lax.stop_gradient(x)

    def gradient(self, losses, weights):
        """(gradients, what else `losses` gives) of the sum of losses(weights)[0]."""

        def total(some):
            loss, more = losses(some)
            return loss.sum(), more

        return self.jax.grad(total, has_aux=True)(weights)

    def scan(self, step, state, each):
        """The state after a step for each item of `each`, arrays whose first axis counts them."""
        return self.jax.lax.scan(lambda state, item: (step(state, item), None), state, each)[0]

    def in_groups(self, work, state, size: int, active=None):
        """work(state, numbers of the networks) of groups of `size` networks, the first axis of every array of state.

        With `active`, (N,) bool, `work` gives a new state, and that of a group of which none is active stays.
        """
        jax, jnp = self.jax, self.jax.numpy
        n = state[0][0].shape[0]
        split = lambda a: a.reshape(n // size, size, *a.shape[1:])  # noqa: E731

        def one(group):
            state, numbers, active = group
            if active is None:
                return work(state, numbers)
            return jax.lax.cond(active.any(), work, lambda state, numbers: state, state, numbers)

        numbers = jnp.arange(n)
        done = jax.lax.map(one, jax.tree.map(split, (state, numbers, active)))
        return jax.tree.map(lambda a: a.reshape(n, *a.shape[2:]), done)

    def uniform(self, number, like):
        """Values in [0, 1) in the shape of `like`, decided by `number`; the same for every network (first axis)."""
        random = self.jax.random
        return random.uniform(random.fold_in(random.key(0), number), (1, *like.shape[1:]))

    def compiled(self, function, overwrites: bool = False):
        return self.jax.jit(function, donate_argnums=(0,) if overwrites else ())


class TensorFlow:
    """All networks side by side in every operation."""

    name = "tensorflow"

    def __init__(self):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        self.tf, self.maximum, self.minimum, self.exp, self.log, self.sqrt = (
            tf,
            tf.maximum,
            tf.minimum,
            tf.exp,
            tf.math.log,
            tf.sqrt,
        )
        self.where, self.einsum, self.reshape, self.gather = tf.where, tf.einsum, tf.reshape, tf.gather
        self.still, self.on_gpu = tf.stop_gradient, True  # on_gpu: groups would not be faster here

    def total(self, x, axis):
        return self.tf.reduce_sum(x, axis=axis)

    def largest(self, x, axis):
        return self.tf.reduce_max(x, axis=axis, keepdims=True)

    def float(self, x):
        return self.tf.cast(x, self.tf.float32)

    def argmax(self, x):
        return self.tf.argmax(x, axis=-1, output_type=self.tf.int32)

    def constant(self, x):
        x = np.asarray(x)
        return self.tf.constant(x.astype(np.int32) if x.dtype.kind == "i" else x)

    def gradient(self, losses, weights):
        with self.tf.GradientTape() as tape:
            tape.watch(weights)
            loss, more = losses(weights)
        return tape.gradient(loss, weights), more

    def scan(self, step, state, each):
        tf, n = self.tf, self.tf.shape(each[0])[0]

        def body(i, state):
            return i + 1, step(state, tuple(some[i] for some in each))

        return tf.while_loop(lambda i, state: i < n, body, (tf.constant(0), state))[1]

    def in_groups(self, work, state, size: int, active=None):
        return work(state, self.tf.range(self.tf.shape(state[0][0])[0]))

    def uniform(self, number, like):
        shape = self.tf.concat([[1], self.tf.shape(like)[1:]], 0)
        return self.tf.random.stateless_uniform(shape, self.tf.stack([0, number]))

    def compiled(self, function, overwrites: bool = False):
        return self.tf.function(function)


NUMPY = NumPy()


@lru_cache
def engine(name: str | None = None):
    """By name, or what is installed: JAX first, which is lighter. Raises MissingExtraError, UsageError."""
    if name is not None and name not in ENGINES:
        raise UsageError(f"engine must be one of {', '.join(ENGINES)}. Received: {name!r}")
    for one, make in (("jax", Jax), ("tensorflow", TensorFlow)):
        if name in (None, one):
            try:
                return make()
            except ImportError as error:
                if name == one or one == "tensorflow":
                    raise MissingExtraError("a probe that is a neural network", "probe") from error
    raise AssertionError

"""What runs on the device: an epoch of training, validation, and remembering the best. The same code on every engine.

The first axis of every array of the state is the networks of a group; `mine` are their numbers among all.
"""

from __future__ import annotations

from functools import lru_cache

TINY = 1e-7  # Adam's, Keras' default


class Program:
    """Functions of arrays; what they share is fixed when they are compiled.

    state : (weights, first moments, second moments, (steps taken,), running values), each a tuple of arrays
    fixed : targets (clips, labels), mean (P, D), deviation (P, D), rates (N,), L2 (N,), part of each network (N,)
    each : windows (steps, P, B[, T]) as rows of x, clips (steps, P, B), numbers of the steps (steps,)
    """

    def __init__(self, ops, network, several: bool, size: int):
        self.ops, self.network, self.several, self.size = ops, network, several, size
        self.epoch, self.score = ops.compiled(self._epoch, overwrites=True), ops.compiled(self._score)
        self.keep = ops.compiled(self._keep)

    def _keep(self, best, now, better):
        return tuple(self.ops.where(self._like(better, w), w, b) for b, w in zip(best, now, strict=True))

    def _like(self, values, w):
        """(N,) values in the shape that multiplies w."""
        return self.ops.reshape(values, (-1,) + (1,) * (len(w.shape) - 1))

    def _epoch(self, state, fixed, x, each, active):
        gather = self.ops.gather

        def work(state, mine):
            rates, decays, part, on = (gather(v, mine) for v in (*fixed[3:], active))

            def step(state, item):
                rows, clips = (gather(v, part) for v in item[:2])
                return self._step(state, fixed, x, rows, clips, item[2], part, rates, decays, on)

            return self.ops.scan(step, state, each)

        return self.ops.in_groups(work, state, self.size, active)

    def _step(self, state, fixed, x, rows, clips, number, part, rates, decays, on):
        """One step of Adam for the networks that are active and have items."""
        ops, (weights, m, v, (taken,), running) = self.ops, state
        inputs, mask, counted = self._inputs(fixed, x, rows, part)
        labels, n = ops.gather(fixed[0], clips), ops.total(counted, 1)

        def losses(weights):
            scores, new = self.network.scores(ops, weights, running, inputs, mask, number)
            loss = ops.total(self._entropy(scores, labels) * counted, 1) / ops.maximum(n, 1.0)
            return loss + decays * self._squares(weights), new

        gradients, new = ops.gradient(losses, weights)
        on = ops.float(on) * ops.float(n > 0)
        taken = taken + on
        t = ops.maximum(taken, 1.0)
        rates = on * rates * ops.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        m = tuple(a + self._like(0.1 * on, a) * (g - a) for a, g in zip(m, gradients, strict=True))
        v = tuple(a + self._like(0.001 * on, a) * (g * g - a) for a, g in zip(v, gradients, strict=True))
        weights = tuple(
            w - self._like(rates, w) * a / (ops.sqrt(b) + TINY) for w, a, b in zip(weights, m, v, strict=True)
        )
        running = tuple(a + self._like(on, a) * (b - a) for a, b in zip(running, new, strict=True))
        return weights, m, v, (taken,), running

    def _score(self, state, fixed, x, each):
        """(N,) sum of losses over items (P, V[, T]) of clips (P, V), how many are right, and the L2."""
        ops = self.ops

        def work(state, mine):
            decays, part = ops.gather(fixed[4], mine), ops.gather(fixed[5], mine)
            rows, clips = (ops.gather(v, part) for v in each)
            inputs, mask, counted = self._inputs(fixed, x, rows, part)
            labels = ops.gather(fixed[0], clips)
            scores, _ = self.network.scores(ops, state[0], state[4], inputs, mask, None)
            loss = ops.total(self._entropy(scores, labels) * counted, 1)
            right = ops.float(ops.argmax(scores) == ops.argmax(labels))
            return loss, ops.total(right * counted, 1), decays * self._squares(state[0])

        return ops.in_groups(work, state, self.size)

    def _inputs(self, fixed, x, rows, part):
        """Standardised windows (n, B[, T], D), which of them there are, and which items (n, B)."""
        ops, clipwise = self.ops, self.network.clipwise
        mean, deviation = (ops.gather(v, part)[:, None] for v in fixed[1:3])
        if clipwise:
            mean, deviation = mean[:, None], deviation[:, None]
        mask = ops.float(rows >= 0)
        inputs = (ops.gather(x, ops.maximum(rows, 0)) - mean) / deviation
        return inputs, mask, mask[:, :, 0] if clipwise else mask

    def _entropy(self, scores, labels):
        ops = self.ops
        if not self.several:
            return -ops.total(labels * log_softmax(ops, scores), -1)
        each = labels * log_sigmoid(ops, scores) + (1 - labels) * log_sigmoid(ops, -scores)
        return -ops.total(each, -1) / labels.shape[-1]

    def _squares(self, weights):
        """(n,) sum of the squared kernels."""
        kernels = [weights[i] for i in self.network.kernels]
        return sum(self.ops.total(w**2, tuple(range(1, len(w.shape)))) for w in kernels)


@lru_cache(16)
def program(ops, network, several: bool, size: int) -> Program:
    """The same one for the same question, so that what was compiled serves again."""
    return Program(ops, network, several, size)


def log_softmax(ops, x):
    x = x - ops.largest(x, -1)
    return x - ops.log(ops.total(ops.exp(x), -1))[..., None]


def log_sigmoid(ops, x):
    return ops.minimum(x, 0.0) - ops.log(1 + ops.exp(-ops.maximum(x, -x)))

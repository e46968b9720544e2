"""The networks: published parameter counts and shapes, weight order, and what the small family promises."""

import numpy as np
import pytest

pytest.importorskip("keras")

from l3embed.avc.config import ModelConfig, TrainConfig
from l3embed.errors import UsageError
from l3embed.frontend import spectrograms
from l3embed.networks import family, heads
from l3embed.spec import Network, l3_front_end, l3_image_network, l3_network, small_front_end

L3, SMALL = family("l3"), family("l3-small")


@pytest.mark.parametrize("dim", [6144, 512])
@pytest.mark.parametrize("representation", ["linear", "mel128", "mel256"])
def test_audio_network_is_the_published_one(representation, dim):
    fe = l3_front_end(representation)
    network = L3.audio_network(fe, l3_network(fe, dim))
    assert network.output_shape == (None, dim)
    assert network.count_params() == 4_689_860
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == 4_687_042
    assert L3.audio_tower(fe, l3_network(fe, dim)).count_params() == 4_691_908
    assert L3.audio_tower(fe, l3_network(fe, dim)).output_shape == (None, 512)


@pytest.mark.parametrize("dim", [8192, 512])
def test_image_network_is_the_published_one(dim):
    network = L3.image_network(l3_image_network(dim))
    assert network.output_shape == (None, dim)
    assert network.count_params() == 4_691_020
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == 4_688_198
    assert L3.image_tower(l3_image_network(dim)).count_params() == 4_693_068


def test_whole_correspondence_model_has_the_published_size():
    fe = l3_front_end("mel256")
    towers = [L3.image_tower(l3_image_network(512)), L3.audio_tower(fe, l3_network(fe))]
    head = heads.correspondence_head(512, 512)
    assert head.count_params() == 131_458
    assert sum(t.count_params() for t in towers) + head.count_params() == 9_516_434


def test_only_the_first_image_block_has_relu_before_batch_normalisation():
    kinds = [type(layer).__name__ for layer in L3.image_network(l3_image_network()).layers]
    text = " ".join(kinds)
    assert text.count("Conv2D ReLU BatchNormalization MaxPooling2D") == 1
    assert text.index("Conv2D ReLU BatchNormalization") < text.index("MaxPooling2D")


@pytest.mark.parametrize(("module", "fe", "network"), [
    (L3, l3_front_end("mel128"), Network("l3", 4, (4, 8))), (SMALL, small_front_end(), Network("l3-small", 4, (2, 1))),
], ids=["l3", "l3-small"])  # fmt: skip
def test_a_tower_begins_with_its_network(module, fe, network):
    """What training relies on when it takes the embedding network out of the trained tower."""
    tower, alone = module.audio_tower(fe, network), module.audio_network(fe, network)
    arrays = tower.get_weights()[: len(alone.weights)]
    alone.set_weights(arrays)
    tail = tower.get_weights()[len(arrays) :]
    assert [a.shape for a in tail] == [(tail[0].shape[0],)] * 4  # one batch normalisation: gamma, beta, mean, variance
    x = np.random.default_rng(0).normal(-20, 10, (2, *fe.shape)).astype(np.float32)
    last = [layer for layer in tower.layers if layer.weights][-2]
    import keras

    inside = keras.Model(tower.input, last.output)(x)
    assert np.asarray(alone(x)).max() == pytest.approx(np.asarray(inside).max(), rel=1e-5)


def test_embedding_pools_frequency_time_channel_in_that_order():
    import keras

    fe = l3_front_end("mel256")
    network = L3.audio_network(fe, Network("l3", 2, (8, 8)))
    maps = keras.Model(network.input, network.get_layer("audio_embedding_layer").output)
    x = np.random.default_rng(0).normal(-30, 10, (1, *fe.shape)).astype(np.float32)
    pooled = np.asarray(maps(x))[0].reshape(4, 8, 3, 8, 16).max(axis=(1, 3))
    np.testing.assert_allclose(np.asarray(network(x))[0], pooled.ravel(), rtol=1e-6)


# --- the small family


def _cost(network, shape):
    """Multiply-adds of all convolutions, counted from the shapes of their maps."""
    return sum(
        int(np.prod(layer.output.shape[1:3])) * int(np.prod(layer.kernel.shape))
        for layer in network.layers
        if type(layer).__name__ == "Conv2D"
    )


def test_small_network_keeps_its_promises():
    fe = small_front_end()
    network = SMALL.audio_network(fe, Network("l3-small", 24, (2, 1)))
    assert network.count_params() == 655_420
    assert network.output_shape == (None, 384)
    l3 = L3.audio_network(l3_front_end("mel256"), l3_network(l3_front_end("mel256")))
    assert _cost(l3, None) == pytest.approx(10.2e9, rel=0.01)  # the reference figure, so the count itself is right
    assert 20 * _cost(network, None) <= _cost(l3, None)


def test_small_network_sees_the_same_maps_one_column_later():
    """Windows 0.1 s apart see the same maps, shifted: their computation could be shared without changing a number."""
    import keras

    fe = small_front_end()
    network = SMALL.audio_network(fe, Network("l3-small", 4, (2, 1)))
    last = [layer for layer in network.layers if type(layer).__name__ == "Conv2D"][-1]
    maps = keras.Model(network.input, last.output)
    signal = np.random.default_rng(0).normal(0, 0.1, fe.window_samples + fe.rate_hz // 10)
    a, b = np.asarray(maps(spectrograms(signal, np.array([0, fe.rate_hz // 10]), fe)))
    np.testing.assert_allclose(a[:, 1:], b[:, :-1], rtol=1e-4, atol=1e-5)


# --- heads


def test_contrastive_loss_is_cross_entropy_without_items_of_the_same_clip():
    rng = np.random.default_rng(0)
    logits, clip = rng.normal(size=(4, 4)).astype(np.float32), np.array([[7], [8], [7], [9]])
    rows = []
    for matrix in (logits, logits.T):
        for i in range(4):
            keep = [j for j in range(4) if j == i or clip[j] != clip[i]]
            rows.append(np.log(np.exp(matrix[i, keep]).sum()) - matrix[i, i])
    found = np.asarray(heads.contrastive_loss(clip, logits))
    assert found.mean() == pytest.approx(np.mean(rows), rel=1e-5)


def test_pair_accuracy_counts_won_comparisons():
    logits = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
    clip = np.array([0, 1, 2])
    np.testing.assert_allclose(np.asarray(heads.pair_accuracy(clip, logits)), [0.5, 1, 1])
    np.testing.assert_allclose(np.asarray(heads.pair_accuracy(np.array([0, 0, 2]), logits)), [1, 1, 1])


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown network family 'vgg': expected one of l3, l3-small"):
        family("vgg")
    with pytest.raises(UsageError, match="unknown representation 'mel64'"):
        l3_front_end("mel64")
    with pytest.raises(UsageError, match="unknown front end 'kapre'"):
        l3_front_end("mel128", "kapre")
    with pytest.raises(UsageError, match="6144 or 512"):
        l3_network(l3_front_end("linear"), 1024)


@pytest.mark.parametrize("dim", [6144, 512])
@pytest.mark.parametrize("representation", ["linear", "mel128", "mel256"])
def test_l3s_shared_windows_are_pooled_out_of_the_maps_of_the_whole(representation, dim):
    """Against NumPy: maps of a long spectrogram, from which each window's pools are cut 8 columns further on."""
    import keras

    fe = l3_front_end(representation)
    network = Network("l3", 2, l3_network(fe, dim).pool)
    shared, alone = L3.audio_strip_network(fe, network), L3.audio_network(fe, network)
    shared.set_weights(alone.get_weights())
    x = np.random.default_rng(0).uniform(-80, 0, (2, fe.n_bins, fe.n_frames + 3 * 8, 1)).astype(np.float32)
    one = x[:, :, : fe.n_frames]
    np.testing.assert_allclose(shared(one)[:, 0], alone(one), rtol=1e-5, atol=1e-5)
    last = [layer for layer in shared.layers if isinstance(layer, keras.layers.Conv2D)][-1]
    maps = np.asarray(keras.Model(shared.input, last.output)(x))  # (2, F', 27, channels)
    height, width = network.pool
    assert maps.shape[2] == 24 + 3
    for k in range(4):
        mine = maps[:, :, k : k + 24]
        pools = mine.reshape(2, -1, height, 24 // width, width, mine.shape[-1]).max(axis=(2, 4))
        np.testing.assert_allclose(shared(x)[:, k], pools.reshape(2, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["l3", "l3-small"])
def test_a_configuration_knows_its_pictures_without_keras(name):
    assert (TrainConfig(model=ModelConfig(family=name)).image_size,) * 2 + (3,) == family(name).IMAGE_SHAPE

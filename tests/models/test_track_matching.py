import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from models.track.matching import match, near, nearest_both


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_match_is_as_cheap_as_the_dense_solver(seed, ties):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(0, 12, 2)
    cost = rng.integers(0, 30, (n, m)) + (0 if ties else rng.random((n, m)))
    allowed = rng.random((n, m)) < rng.random()
    miss = float(rng.integers(1, 30))
    start = np.concatenate([[0], np.cumsum(allowed.sum(axis=1))]).astype(np.int64)
    got = match(start, np.nonzero(allowed)[1].astype(np.int64), cost[allowed].astype(float), int(m), miss)

    dense = np.full((n, m + n), 1e9)
    dense[:, :m][allowed] = cost[allowed]
    dense[np.arange(n), m + np.arange(n)] = miss
    best = dense[linear_sum_assignment(dense)].sum()
    used = got[got >= 0]
    assert len(set(used.tolist())) == len(used)
    assert all(allowed[i, j] for i, j in enumerate(got) if j >= 0)
    assert sum(miss if j < 0 else cost[i, j] for i, j in enumerate(got)) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(20))
def test_near_finds_what_brute_force_finds(seed):
    rng = np.random.default_rng(seed)
    points, others = rng.random((rng.integers(0, 40), 2)) * 100, rng.random((rng.integers(0, 40), 2)) * 100
    radius = rng.random(len(points)) * 50
    start, column = near(points, others, radius)
    for i, point in enumerate(points):
        away = ((others - point) ** 2).sum(axis=1)
        assert column[start[i] : start[i + 1]].tolist() == np.nonzero(away <= radius[i] ** 2)[0].tolist()


def test_nearest_both_needs_both():
    points, others = np.array([[0.0, 0.0], [0.0, 3.0]]), np.array([[0.0, 2.0]])
    start, column = near(points, others, np.full(2, 10.0))
    assert nearest_both(points, others, start, column).tolist() == [-1, 0]

"""What unit 07's lesson, graders and tests share: a beam, a house with two doors, numbers."""

from __future__ import annotations

import torch

from tutorlib.mdp import GridWorld, TabularMDP

UNIT = "adversarial_irl"
METHODS = ("airl", "gail", "gail_log_d", "forward_kl")
LABELS = {"airl": "AIRL: h", "gail": "GAIL: −log(1 − D)", "gail_log_d": "GAIL: log D",
          "forward_kl": "forward KL: u", "fairl_printed": "FAIRL as printed: −h exp(h)"}

HOUSE = """
...#...
...1...
...#...
...#...
...2...
"""  # two rooms, two doors; the reward is paid in the middle of the right room's far wall
HOUSE_DISCOUNT, HOUSE_TEMPERATURE = 0.9, 0.2
BEAM_CELLS, BEAM_SLIP, BEAM_DISCOUNT = 7, 0.1, 0.97


def house_grid(open_doors: str = "12") -> GridWorld:
    """Return the house as a drawing, with these doors open; the reward is paid in its cell."""
    drawn = "".join("." if c in open_doors else "#" if c in "12" else c for c in HOUSE)
    return GridWorld(drawn, discount=HOUSE_DISCOUNT, cell_rewards={(2, 6): 1.0})


def house(open_door: str, start: str = "anywhere") -> TabularMDP:
    """Return the house as a process R(s) with one door open.

    Both doorways are states, in either house: a closed one cannot be entered, only left. So a
    reward learned with one door open is a table that fits the other house too. ``start`` is
    "anywhere", or "left" for the cells of the left room.
    """
    grid = house_grid()
    mdp, shut = grid.mdp, {"1": (1, 3), "2": (4, 3)}["2" if open_door == "1" else "1"]
    door, moves = grid.state_of(*shut), mdp.transition_matrix
    stay = torch.eye(mdp.n_states, dtype=torch.float64)
    for s in range(mdp.n_states):
        for a in range(mdp.n_actions):
            if s != door and moves[s, a, door] > 0:
                moves[s, a] = stay[s]
    begin = torch.tensor([start == "anywhere" or grid.cell_of(s)[1] < 3
                          for s in range(mdp.n_states)], dtype=torch.float64)
    return TabularMDP.from_dense(moves, grid.cell_rewards, begin / begin.sum(),
                                 discount=mdp.discount, action_names=mdp.action_names,
                                 state_names=[str(grid.cell_of(s)) for s in range(mdp.n_states)])


def beam() -> TabularMDP:
    """Return a pole in miniature: seven leans, from fallen left to fallen right, three actions.

    Doing nothing lets it fall on, the way it leans; a push moves it by one, against or with the
    lean, and slips one time in ten. Both ends are terminal: the pole has fallen.
    """
    n, middle = BEAM_CELLS, BEAM_CELLS // 2
    moves = torch.zeros(n, 3, n, dtype=torch.float64)
    for s in range(1, n - 1):
        lean = (s > middle) - (s < middle)
        for way in ((-1, 1) if lean == 0 else (lean,)):
            moves[s, 1, s + way] += 0.5 if lean == 0 else 1.0
        for action, way in ((0, -1), (2, 1)):
            moves[s, action, s + way] += 1 - BEAM_SLIP
            moves[s, action, s - way] += BEAM_SLIP
    terminal = torch.zeros(n, dtype=torch.bool)
    terminal[0] = terminal[-1] = True
    moves[terminal] = torch.eye(n, dtype=torch.float64)[terminal][:, None, :]
    start = torch.zeros(n, dtype=torch.float64)
    start[middle] = 1.0
    names = [f"lean {s - middle:+d}" for s in range(n)]
    return TabularMDP.from_dense(moves, torch.zeros(n, 3), start, discount=BEAM_DISCOUNT,
                                 terminal=terminal, state_names=names,
                                 action_names=("push left", "nothing", "push right"))


def balancer(mdp: TabularMDP) -> torch.Tensor:
    """Return a demonstrator on the beam that pushes against the lean nine times in ten."""
    policy = torch.full((mdp.n_states, 3), 0.05, dtype=torch.float64)
    middle = mdp.n_states // 2
    policy[:middle, 2] = policy[middle + 1:, 0] = policy[middle, 1] = 0.9
    return policy


def idler(mdp: TabularMDP) -> torch.Tensor:
    """Return a demonstrator on the beam that does nothing nine times in ten."""
    return torch.tensor([[0.05, 0.9, 0.05]] * mdp.n_states, dtype=torch.float64)


def steps_alive(mdp: TabularMDP, policy: torch.Tensor, limit: int = 500) -> float:
    """Return the expected number of decisions before a terminal state, at most ``limit``."""
    from tutorlib.mdp import state_distributions

    visited = state_distributions(mdp, policy, limit)[:-1]
    return float((visited * (~mdp.terminal).double()).sum())


def numbers(rows) -> torch.Tensor:
    """Return a float64 tensor."""
    return torch.tensor(rows, dtype=torch.float64)


def normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    """Return uniform numbers in float64."""
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

"""Figures that carry alt text computed from their data, and widgets with a static default.

Names are loaded on first use (PEP 562): importing this package loads neither matplotlib nor torch.
"""

from __future__ import annotations

import importlib

_EXPORTS = {  # name: module; no module has the name of a function, or it would shadow it
    "Picture": "picture",
    "style": "look",
    "new_figure": "look",
    "COLOURS": "look",
    "gridworld": "grids",
    "gridworld_panels": "grids",
    "Panel": "gridview",
    "learning_curves": "curves",
    "lines": "curves",
    "LiveCurves": "livecurves",
    "bars": "charts",
    "matrix": "charts",
    "mdp_graph": "graph",
    "roadmap": "coursemap",
    "GridPainter": "painter",
    "DemonstrationPad": "demonstrate",
    "TwoRewards": "tworewards",
    "WalkComparer": "comparer",
    "AnswerComparer": "answers",
    "Slider": "explore",
    "Explorer": "explore",
    "explorer": "explore",
    "density_picture": "densities",
    "density_explorer": "densities",
    "score_panels": "scores",
    "token_strip": "strips",
    "TreeExplorer": "treeexplorer",
    "TreeTables": "treerows",
    "QuizWidget": "quiz",
    "PredictionWidget": "quiz",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    """Load an exported name on first use."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tutorlib.viz' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tutorlib.viz.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    """List the lazy exports too, so that tab completion finds them."""
    return sorted(__all__)

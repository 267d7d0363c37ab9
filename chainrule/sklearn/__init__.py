"""Floor 9, scikit-learn: networks as classifiers and regressors, preprocessors as transformers.

They need the extra ``sklearn``: ``pip install "chainrule[sklearn]"``.

>>> from sklearn.datasets import load_iris
>>> from sklearn.model_selection import cross_val_score
>>> from sklearn.pipeline import make_pipeline
>>> from chainrule.sklearn import MLPClassifier, Standardize
>>> X, y = load_iris(return_X_y=True)
>>> model = make_pipeline(Standardize(), MLPClassifier((16,), solver="lbfgs", random_state=0))
>>> bool(cross_val_score(model, X, y).mean() > 0.9)
True

Read next: :mod:`chainrule.sklearn.mlp`.
"""

from __future__ import annotations

from chainrule.sklearn.mlp import MLPClassifier, MLPRegressor
from chainrule.sklearn.own_network import NetworkClassifier, NetworkRegressor
from chainrule.sklearn.transformers import PCA, Center, Standardize, Whiten

__all__ = [
    "PCA",
    "Center",
    "MLPClassifier",
    "MLPRegressor",
    "NetworkClassifier",
    "NetworkRegressor",
    "Standardize",
    "Whiten",
]
